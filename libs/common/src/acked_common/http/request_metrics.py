"""Count and time HTTP responses, by first path segment and status."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily

from acked_common.runtime.metrics import RESPONSE_BOUNDS_S, LoopHistogram, Observations

_NAME, _HELP, _LABELS = "acked_http_requests", "HTTP responses.", ("route", "status")

_durations = LoopHistogram(
    "acked_http_request_duration_seconds",
    "Time from the head of an HTTP request to the head of its response.",
    ("route", "status"),
    bounds=RESPONSE_BOUNDS_S,
)
_answered: dict[tuple[str, int], Observations] = {}
"""The series of `_durations` by status, so that a request does not format its status."""


class _RequestCollector:
    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(_NAME, _HELP, labels=_LABELS)
        for values, count in _durations.counts():
            family.add_metric(values, count)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(_NAME, _HELP, labels=_LABELS)


REGISTRY.register(_RequestCollector())


def begin_at_zero(route: str, *statuses: int) -> None:
    """Expose series before their first response: Prometheus sees no increase in the first value of a series."""
    for status in statuses:
        _durations.of((route, str(status)))


class RequestMetrics:
    """Counts responses. `known` has the first segments of the served paths; all others count as one."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known

    def count(self, scope: Any, status: int, began: float) -> None:
        """Count one response to a request that `began` at this instant of `time.perf_counter`."""
        first: str = scope["path"]
        if first not in self._known:
            # Only the first segment, because each id would make a time series of its own.
            first = "/" + first.lstrip("/").split("/", 1)[0]
        key = (first if first in self._known else "other", status)
        series = _answered.get(key)
        if series is None:
            series = _answered[key] = _durations.of((key[0], str(status)))
        series.observe(time.perf_counter() - began)
