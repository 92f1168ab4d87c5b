"""Measure the waits of jobs, and the used slots of this worker, by kind."""

from collections.abc import Mapping, Sequence

from acked_common.runtime.metrics import JOB_BOUNDS_S, LoopHistogram, Reading, ScrapedGauge, kind_label
from acked_common.store.records import ClaimedJob
from acked_worker.consume.slots import Slots

_waits = LoopHistogram(
    "acked_job_wait_seconds",
    "Time from the queueing of a job to the hand-over to its handler.",
    ("kind",),
    bounds=JOB_BOUNDS_S,
)
_total = ScrapedGauge("acked_slots", "Slots that the kind shares with all kinds of its sort.", ("kind",))
_busy = ScrapedGauge("acked_slots_busy", "Slots of these that are taken now, by any kind.", ("kind",))


def count_started(jobs: Sequence[ClaimedJob], *, waited_s: float) -> None:
    """Count jobs of one bundle that start now, `waited_s` after the newest of them was queued.

    A claim does not read back when each job was queued; the bundle has the instant of its newest job. One write queued
    all jobs of a bundle, so the others waited as long. Only jobs that a sweeper republishes together may have waited
    longer.
    """
    by_kind: dict[str, int] = {}
    for job in jobs:
        by_kind[job.kind] = by_kind.get(job.kind, 0) + 1
    for kind, count in by_kind.items():
        _waits.of((kind_label(kind),)).observe(max(0.0, waited_s), count)


def watch_slots(pools: Mapping[str, Slots]) -> None:
    """Expose the pools of these kinds."""
    by_label = {kind_label(kind): pool for kind, pool in pools.items()}

    def total() -> Reading:
        return [((label,), pool.total) for label, pool in by_label.items()]

    def busy() -> Reading:
        return [((label,), pool.used) for label, pool in by_label.items()]

    _total.read_from(total)
    _busy.read_from(busy)
