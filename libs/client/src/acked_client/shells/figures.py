"""Counts by kind, blocking."""

from acked_client.core import figures
from acked_client.core.exchange import Session
from acked_client.model.figures import Backlog, WindowTotals
from acked_client.shells.blocking import Driver


class FigureCalls:
    """The calls of `Acked` that count jobs by kind."""

    _driver: Driver
    _session: Session

    def backlog(self) -> Backlog:
        """Return the current jobs of each kind by state, over all tenants. Only for clients of the tenant `default`."""
        return self._driver.run(figures.backlog(self._session))

    def totals(self, window: str = "1h") -> WindowTotals:
        """Return what happened to the jobs of each kind over a window: `5m`, `15m`, `1h`, `24h` or `8d`."""
        return self._driver.run(figures.totals(self._session, window))
