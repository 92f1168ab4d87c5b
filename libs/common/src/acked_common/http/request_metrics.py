"""Counts what is answered over HTTP, by the first part of the path and by status."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily

_NAME, _HELP, _LABELS = "acked_http_requests", "Answered HTTP requests.", ("route", "status")

_answered: Counter[tuple[str, int]] = Counter()
"""Of the loop that serves: no lock is taken for each request."""


class _RequestCollector:
    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(_NAME, _HELP, labels=_LABELS)
        for (route, status), count in list(_answered.items()):
            family.add_metric((route, str(status)), count)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(_NAME, _HELP, labels=_LABELS)


REGISTRY.register(_RequestCollector())


class RequestMetrics:
    """Counts answers. `known`: first parts of paths that are served; all others count as one."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known

    def count(self, scope: Any, status: int) -> None:
        """Counts one answered request."""
        first: str = scope["path"]
        if first not in self._known:
            # The first part of the path: ids would make a time series each.
            first = "/" + first.lstrip("/").split("/", 1)[0]
        _answered[first if first in self._known else "other", status] += 1
