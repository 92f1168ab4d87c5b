"""The census: one gateway counts jobs, and all gateways read and expose the figures.

The gateway that takes the lock counts. The next count is due after `PAUSES` times the duration of the last one, so
counts take at most a twentieth of MongoDB's time. Without a new census the last figures stay for some time and then
disappear.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric

from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.metrics import kind_label
from acked_common.store.census import CensusSummary
from acked_common.store.ports import CensusStore

TURN = "census"
LOOK_EVERY_S = 1.0
PAUSES = 20.0
SHORTEST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 40.0
"""Shorter than `FRESH_FOR_S`, so that figures do not disappear because a count takes long."""
FRESH_FOR_S = 60.0


def pause_s(took_s: float) -> float:
    """Return the pause after a count of this duration."""
    return min(max(SHORTEST_PAUSE_S, PAUSES * took_s), LONGEST_PAUSE_S)


class CensusLoop:
    """Reads the census in one process, and counts when it has the lock."""

    def __init__(self, store: CensusStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._newest: CensusSummary | None = None
        self._not_before = float("-inf")
        _shown.show(self)

    def start(self, tasks: Tasks) -> None:
        """Start to read and count."""
        tasks.repeat("census", self.look, every_s=LOOK_EVERY_S)

    def fresh(self) -> CensusSummary | None:
        """Return the newest census; None once it is too old."""
        newest = self._newest
        if newest is None or (self._clock.now() - newest.counted_at).total_seconds() > FRESH_FOR_S:
            return None
        return newest

    def now(self) -> datetime:
        """Return the instant from which ages are computed."""
        return self._clock.now()

    async def look(self) -> None:
        """Read the census. Count again if a count is due and no other process counts. Raises `StoreError`."""
        found = await self._store.read_census()
        if found is not None:
            self._newest = found
        if not self._is_due(found):
            return
        took_s = 0.0 if found is None else found.took_s
        if not await self._store.take_turn(TURN, for_s=pause_s(took_s)):
            return
        began = self._clock.monotonic()
        try:
            counted = await self._store.count_census(at=self._clock.now())
            await self._store.write_census(counted)
        finally:
            # A failed count costs as much as a successful one.
            ended = self._clock.monotonic()
            self._not_before = ended + pause_s(ended - began)
        self._newest = counted.summary

    def _is_due(self, found: CensusSummary | None) -> bool:
        if self._clock.monotonic() < self._not_before:
            return False
        if found is None:
            return True
        passed_s = (self._clock.now() - found.counted_at).total_seconds()
        # A census from the future was counted before the clock was set back.
        return not 0 <= passed_s < found.took_s + pause_s(found.took_s)


class _Collector:
    """Exposes the figures of the process's newest `CensusLoop`."""

    def __init__(self) -> None:
        self._census: CensusLoop | None = None

    def show(self, census: CensusLoop) -> None:
        """Expose these figures from now on."""
        self._census = census

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "acked_jobs", "Live jobs, and failed ones that need attention.", labels=("kind", "state")
        )
        oldest = GaugeMetricFamily(
            "acked_oldest_waiting_seconds", "How long the oldest queued job has waited.", labels=("kind",)
        )
        attention = GaugeMetricFamily(
            "acked_attention_jobs", "Failed jobs that need attention and are not snoozed.", labels=("kind",)
        )
        census = self._census
        summary = None if census is None else census.fresh()
        if census is not None and summary is not None:
            counts: Counter[tuple[str, str]] = Counter()
            failed: Counter[str] = Counter()
            waited_s: dict[str, float] = {}
            for kind in summary.kinds:
                # Kinds beyond the bound share a label, so add up their figures.
                label = kind_label(kind.kind)
                for state, count in kind.states.items():
                    counts[label, state.value] += count
                if kind.oldest_queued_at is not None:
                    found_s = (census.now() - kind.oldest_queued_at).total_seconds()
                    waited_s[label] = max(waited_s.get(label, 0.0), found_s)
                failed[label] += kind.attention
            for values, count in counts.items():
                jobs.add_metric(values, count)
            for label, oldest_s in waited_s.items():
                oldest.add_metric((label,), oldest_s)
            for label, count in failed.items():
                attention.add_metric((label,), count)
        yield from (jobs, oldest, attention)

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("acked_jobs", "", labels=("kind", "state"))
        yield GaugeMetricFamily("acked_oldest_waiting_seconds", "", labels=("kind",))
        yield GaugeMetricFamily("acked_attention_jobs", "", labels=("kind",))


_shown = _Collector()
REGISTRY.register(_shown)
