"""Whatever becomes queued is offered to the broker, by the call that moved it."""

from datetime import timedelta

import pytest

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import Applied, Insertion, Job
from support.factories import ManualClock, insert, new_job, queued
from support.parts import ShakyStore, settle


class Bench:
    """A writer over a store in memory; notes what they offer."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.offered: list[QueuedJob] = []
        self.writer = JobWriter(self.store, self.offered.extend)

    async def stored(self, job_id: object) -> Job:
        found = await self.store.get(job_id)  # type: ignore[arg-type]
        assert found is not None
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_insert_offers_what_is_stored_and_queued_with_its_instant(bench: Bench) -> None:
    first, delayed, second = new_job(at=bench.clock.now()), new_job(delay_s=60.0), new_job(kind="other")
    assert await bench.writer.insert([first, delayed, second]) == [Insertion.STORED] * 3
    await settle()
    assert bench.offered == [(job.id, job.kind, (await bench.stored(job.id)).queued_at) for job in (first, second)]


async def test_insert_offers_nothing_that_is_not_known_to_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(jobs: object) -> list[Insertion]:
        return [Insertion.UNKNOWN, Insertion.NOT_STORED, Insertion.KEY_TAKEN]

    monkeypatch.setattr(bench.store, "insert", lost)
    await bench.writer.insert([new_job(), new_job(), new_job()])
    await settle()
    assert bench.offered == []


async def test_apply_offers_what_became_queued_and_nothing_else(bench: Bench) -> None:
    await insert(bench.store, *(jobs := [new_job(delay_s=1.0) for _ in range(3)]))
    due, stale, ends = [await bench.stored(job.id) for job in jobs]
    at = bench.clock.now() + timedelta(seconds=1)
    due_now = lifecycle.become_due(at=at, grace_s=1.0, expires_in_s=60.0)
    moves = [
        Move(due.seen, due_now),
        Move(lifecycle.Seen(stale.id, stale.state, stale.rev + 1, 0), due_now),
        Move(ends.seen, interventions.cancel(at=at, retention_s=60.0)),
    ]
    outcome = await bench.writer.apply(moves, ["demo", "demo", "demo"])
    assert outcome == [Applied.APPLIED, Applied.STALE, Applied.APPLIED]
    assert bench.offered == [(due.id, "demo", (await bench.stored(due.id)).queued_at)]


async def test_apply_offers_a_retry_at_the_instant_that_is_stored(bench: Bench) -> None:
    job = await queued(bench.store, at=bench.clock.now())
    ahead = bench.clock.now() + timedelta(seconds=30)
    await bench.store.apply(
        [Move(job.seen, lifecycle.expire(at=ahead, waited_s=1.0, kind="demo", attempt=0, retention_s=60.0))]
    )
    failed = await bench.stored(job.id)
    # The clock of this process is behind that of the one that ended the job.
    move = Move(failed.seen, interventions.retry(at=bench.clock.now(), grace_s=1.0, expires_in_s=60.0))
    assert await bench.writer.apply([move], ["demo"]) == [Applied.APPLIED]
    again = await bench.stored(job.id)
    assert (again.state, again.queued_at) == (State.QUEUED, ahead)
    assert bench.offered == [(job.id, "demo", ahead)]


async def test_apply_that_fails_offers_nothing(bench: Bench) -> None:
    job = new_job(delay_s=1.0)
    await insert(bench.store, job)
    bench.store.failures["apply"] = [StoreUnavailable("away")]
    move = Move((await bench.stored(job.id)).seen, lifecycle.become_due(at=job.accepted_at, grace_s=1, expires_in_s=9))
    with pytest.raises(StoreUnavailable):
        await bench.writer.apply([move], ["demo"])
    assert bench.offered == []
