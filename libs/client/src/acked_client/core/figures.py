"""The calls of counts by kind: the backlog, and transitions over a window. Pure."""

from acked_client.core.effects import Flow, Request
from acked_client.core.exchange import Session, fetch
from acked_client.model.figures import Backlog, WindowTotals


def backlog(session: Session) -> Flow[Backlog]:
    """Return the current jobs of each kind by state."""
    return (yield from fetch(session, Request("GET", "/backlog"), Backlog))


def totals(session: Session, window: str) -> Flow[WindowTotals]:
    """Return what happened to the jobs of each kind over a window."""
    return (yield from fetch(session, Request("GET", "/timeseries/kinds", {"window": window}), WindowTotals))
