"""Metrics that one loop updates and exposes: without locks, so that an observation costs a look-up and an addition.

The client library takes a lock and walks the buckets for each observation. Where a figure is taken for each job or
request, that would be a measurable share of its cost. `/metrics` is served on the loop that updates these metrics.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import INF, floatToGoString

from acked_common.model.kind_labels import KindLabels

# The instant at which each series began doubles the samples, and `rate()` does not need it.
disable_created_metrics()  # type: ignore[no-untyped-call]

Labels = tuple[str, ...]

RESPONSE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a response out of memory to the longest long poll."""
COMMIT_BOUNDS_S = RESPONSE_BOUNDS_S[:12]
"""Responses take at most two seconds, even without MongoDB."""
JOB_BOUNDS_S = (
    *(0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3600.0, 21_600.0, 86_400.0),
)
"""From a handler that does nothing to one that runs for a day. Each bound costs a series a kind: so they are coarse."""


class LoopCounter:
    """A counter whose label values its callers bound: kinds by `kind_label`, all others are words of the code."""

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self._family = (name.removesuffix("_total"), text, labels)
        self._counts: dict[Labels, float] = {} if labels else {(): 0}
        REGISTRY.register(self)

    def add(self, values: Labels = (), amount: float = 1) -> None:
        """Count `amount`, which is never negative."""
        self._counts[values] = self._counts.get(values, 0) + amount

    def begin(self, values: Labels) -> None:
        """Expose a series at 0: Prometheus sees no increase in the first value of a series."""
        self._counts.setdefault(values, 0)

    def collect(self) -> Iterator[Metric]:
        """Yield the family with a sample a series."""
        family = _counter_family(self._family)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Yield the family without samples."""
        yield _counter_family(self._family)


class Observations:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations a bucket, not added up; the last one is beyond every bound."""
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` at once."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times


class LoopHistogram:
    """A histogram; callers bound its label values as those of `LoopCounter`."""

    def __init__(self, name: str, text: str, labels: Labels = (), *, bounds: tuple[float, ...]) -> None:
        self._family = (name, text, labels)
        self._bounds = bounds
        self._les = [floatToGoString(bound) for bound in (*bounds, INF)]  # type: ignore[no-untyped-call]
        self._series: dict[Labels, Observations] = {}
        if not labels:
            self.of(())
        REGISTRY.register(self)

    def of(self, values: Labels) -> Observations:
        """Return the series with these label values."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = Observations(self._bounds)
        return found

    def counts(self) -> Iterator[tuple[Labels, int]]:
        """Yield how many observations each series has."""
        for values, found in list(self._series.items()):
            yield values, sum(found.counts)

    def collect(self) -> Iterator[Metric]:
        """Yield the family with all buckets of each series."""
        name, text, labels = self._family
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, found in list(self._series.items()):
            buckets = list(zip(self._les, accumulate(found.counts), strict=True))
            family.add_metric(values, buckets, found.total)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Yield the family without samples."""
        name, text, labels = self._family
        yield HistogramMetricFamily(name, text, labels=labels)


Reading = Iterable[tuple[Labels, float]]
"""Label values and the value of each series."""


class ScrapedGauge:
    """A gauge that is read when it is scraped. Without a source it has no series."""

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self._family = (name, text, labels)
        self._read: Callable[[], Reading] = tuple
        REGISTRY.register(self)

    def read_from(self, read: Callable[[], Reading]) -> None:
        """Read from here: bounded, without waiting, and each series once. The newest source counts."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the family with the current values of the source."""
        name, text, labels = self._family
        family = GaugeMetricFamily(name, text, labels=labels)
        for values, value in self._read():
            family.add_metric(values, value)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Yield the family without samples."""
        name, text, labels = self._family
        yield GaugeMetricFamily(name, text, labels=labels)


def _counter_family(family: tuple[str, str, Labels]) -> CounterMetricFamily:
    name, text, labels = family
    return CounterMetricFamily(name, text, labels=labels)


_kinds = KindLabels()
kind_label = _kinds.of
"""The label of a kind in every metric of this process."""


class _KindsLeftOut:
    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "acked_metrics_kinds_dropped", "Kinds beyond the bound of the label kind: they are counted as other."
        )
        family.add_metric((), _kinds.left_out)
        yield family

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily("acked_metrics_kinds_dropped", "")


REGISTRY.register(_KindsLeftOut())
