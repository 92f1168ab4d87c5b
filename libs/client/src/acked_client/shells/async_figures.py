"""Counts by kind, for asyncio."""

from acked_client.core import figures
from acked_client.core.exchange import Session
from acked_client.model.figures import Backlog, WindowTotals
from acked_client.shells.asynchronous import AsyncDriver


class AsyncFigureCalls:
    """The calls of `AsyncAcked` that count jobs by kind."""

    _driver: AsyncDriver
    _session: Session

    async def backlog(self) -> Backlog:
        """Return the current jobs of each kind by state, over all tenants. Only for clients of the tenant `default`."""
        return await self._driver.run(figures.backlog(self._session))

    async def totals(self, window: str = "1h") -> WindowTotals:
        """Return what happened to the jobs of each kind over a window: `5m`, `15m`, `1h`, `24h` or `8d`."""
        return await self._driver.run(figures.totals(self._session, window))
