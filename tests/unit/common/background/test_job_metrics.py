"""Ends of jobs are counted where they are confirmed, once each; a server that nothing has tried yet has no figure."""

from prometheus_client import REGISTRY

from acked_common.background.job_metrics import begin_kinds, count_ended, watch_dependencies
from acked_common.background.job_writer import JobWriter
from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.store.records import Applied, Job
from support.factories import ManualClock, again, queued, running
from support.memory_store import MemoryStore

RETENTION_S = 3600.0


def ended(kind: str, state: str, reason: str) -> float | None:
    labels = {"kind": kind, "state": state, "reason": reason}
    return REGISTRY.get_sample_value("acked_jobs_ended_total", labels)


class Bench:
    """Jobs of one kind in a store in memory."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.writer = JobWriter(self.store, lambda _: None)

    async def job(self) -> Job:
        return await queued(self.store, kind=self.kind, at=self.clock.now())

    async def running(self) -> Job:
        return await running(self.store, kind=self.kind, claimed_at=self.clock.now())

    async def apply(self, job: Job, transition: lifecycle.Transition) -> Applied:
        (outcome,) = await self.writer.apply([Move(job.seen, transition)], [job.kind])
        return outcome


async def test_each_end_counts_once_with_its_state_and_reason() -> None:
    bench = Bench("ends")
    at = bench.clock.now()
    job = await bench.running()
    done = lifecycle.succeed(at=at, result=b"1", retention_s=RETENTION_S)
    assert await bench.apply(job, done) is Applied.APPLIED
    assert ended("ends", "succeeded", "completed") == 1
    # Of another attempt, which found the job moved.
    late = lifecycle.fail(at=at, error={"type": "E"}, retention_s=RETENTION_S, exhausted=True)
    assert await bench.apply(job, late) is Applied.STALE
    assert ended("ends", "failed", "attempts_exhausted") is None
    await bench.apply(await bench.job(), interventions.cancel(at=at, retention_s=RETENTION_S))
    assert ended("ends", "cancelled", "cancelled") == 1


async def test_a_job_that_goes_on_or_has_ended_before_does_not_end() -> None:
    bench = Bench("goes-on")
    at = bench.clock.now()
    job = await bench.running()
    await bench.apply(job, lifecycle.back_off(at=at, error={"type": "E"}, delay_s=1.0))
    assert ended("goes-on", "scheduled", "backing_off") is None
    job = await bench.running()
    await bench.apply(job, lifecycle.fail(at=at, error={"type": "E"}, retention_s=RETENTION_S, exhausted=False))
    assert ended("goes-on", "failed", "permanent_error") == 1
    resolved = interventions.resolve(at=at, to=State.SUCCEEDED, result=b"1", note=None, retention_s=RETENTION_S)
    assert await bench.apply(await again(bench.store, job), resolved) is Applied.APPLIED
    assert ended("goes-on", "succeeded", "resolved") is None
    assert ended("goes-on", "failed", "permanent_error") == 1


async def test_a_retried_job_ends_again() -> None:
    bench = Bench("again")
    at = bench.clock.now()
    job = await bench.job()
    for times in (1, 2):
        await bench.apply(await again(bench.store, job), interventions.cancel(at=at, retention_s=RETENTION_S))
        assert ended("again", "cancelled", "cancelled") == times
        await bench.apply(await again(bench.store, job), interventions.retry(at=at, grace_s=1.0, expires_in_s=60.0))


def test_a_worker_shows_its_kinds_before_their_first_end() -> None:
    begin_kinds(["begun"])
    assert ended("begun", "failed", "attempts_exhausted") == ended("begun", "succeeded", "completed") == 0
    count_ended([], [], [])
    assert ended("begun", "failed", "attempts_exhausted") == 0


def test_a_server_that_nothing_has_tried_has_no_figure() -> None:
    usable: dict[str, bool | None] = {"mongodb": True, "rabbitmq": None}
    watch_dependencies({name: lambda name=name: usable[name] for name in usable})  # type: ignore[misc]

    def up(name: str) -> float | None:
        return REGISTRY.get_sample_value("acked_dependency_up", {"name": name})

    assert (up("mongodb"), up("rabbitmq")) == (1, None)
    usable |= {"mongodb": False, "rabbitmq": True}
    assert (up("mongodb"), up("rabbitmq")) == (0, 1)
