"""Counts what is answered over HTTP, by the first part of the path and by status."""

from functools import cache
from typing import Any

from prometheus_client import Counter

_requests = Counter("acked_http_requests_total", "Answered HTTP requests.", ["route", "status"])


class RequestCounter:
    """Counts answers. `known`: first parts of paths that are served; all others count as one."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known

    def count(self, scope: Any, status: int) -> None:
        """Counts one answered request."""
        first: str = scope["path"]
        if first not in self._known:
            # The first part of the path: ids would make a time series each.
            first = "/" + first.lstrip("/").split("/", 1)[0]
        _requests_of(first if first in self._known else "other", status).inc()


@cache
def _requests_of(route: str, status: int) -> Counter:
    return _requests.labels(route, str(status))
