"""What a process counts is written once: after an outage, after an unknown outcome, and when it leaves."""

from collections import Counter
from datetime import timedelta

import pytest

from acked_common.background.job_writer import JobWriter
from acked_common.background.minute_writer import MinuteWriter
from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.model.minute_buckets import ACCEPTED, MINUTE_S, RUN, STARTED, WAIT, quantile_s
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.records import Insertion
from support.factories import EXPIRES_IN_S, GRACE_S, RETENTION_S, ManualClock, new_job, running
from support.parts import ShakyStore, settle


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.minutes = MinuteWriter(self.store, self.clock)
        self.writer = JobWriter(self.store, lambda _: None, self.minutes)

    async def counts(self, kind: str | None = None, tenant: str | None = "default", step_s: int = 60) -> Counter[str]:
        found: Counter[str] = Counter()
        since = self.clock.now() - timedelta(days=1)
        for bucket in await self.store.minutes(tenant, kind, step_s=step_s, since_at=since):
            found.update(bucket.counts)
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_jobs_count_when_they_are_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.writer.insert([new_job(), new_job(kind="other"), new_job(tenant="acme"), new_job(delay_s=9.0)])

    async def doubtful(jobs: object) -> list[Insertion]:
        return [Insertion.UNKNOWN, Insertion.NOT_STORED, Insertion.KEY_TAKEN]

    monkeypatch.setattr(bench.store, "insert", doubtful)
    await bench.writer.insert([new_job(), new_job(), new_job()])
    await settle()
    await bench.minutes.write()
    assert await bench.counts("demo") == {ACCEPTED: 2}
    assert await bench.counts("other") == {ACCEPTED: 1}
    assert await bench.counts() == {ACCEPTED: 3}
    assert await bench.counts(tenant="acme") == {ACCEPTED: 1}


async def test_moves_count_when_they_apply(bench: Bench) -> None:
    jobs = [await running(bench.store, tenant="acme") for _ in range(3)]
    at = bench.clock.now() + timedelta(days=300)
    end = lifecycle.succeed(at=at, result=b"1", retention_s=RETENTION_S)
    drained = lifecycle.release(at=at, grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    moves = [Move(jobs[0].seen, end), Move(jobs[1].seen, drained), Move(jobs[2].seen, end)]
    stale = Move(jobs[2].seen, drained)
    await bench.writer.apply(moves, ["demo"] * 3)
    await bench.writer.apply([stale], ["demo"])
    await bench.minutes.write()
    assert await bench.counts("demo", "acme") == {State.SUCCEEDED.value: 2, "requeued": 1}
    assert await bench.counts() == {}


async def test_starts_count_with_their_wait_and_over_all_tenants(bench: Bench) -> None:
    bench.minutes.note_started("acme", "demo", 3, waited_s=2.0)
    bench.minutes.note_started("globex", "demo", 1, waited_s=0.1)
    bench.minutes.note_runs([("acme", "demo", 0.5), ("acme", "demo", 0.6)])
    await bench.minutes.write()
    found = await bench.counts("demo", "acme")
    assert found[STARTED] == 3
    ran_s = quantile_s(found, RUN, 1.0)
    assert ran_s is not None and 0.5 < ran_s < 0.7
    waited_s = quantile_s(found, WAIT, 0.5)
    assert waited_s is not None and 1.7 < waited_s < 2.3
    assert await bench.counts("demo", None) == {STARTED: 4}


async def test_nothing_is_written_where_nothing_was_counted(bench: Bench) -> None:
    await bench.minutes.write()
    await bench.minutes.stop()
    assert bench.store.calls == []


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("who knows")])
async def test_a_write_that_is_not_confirmed_is_repeated_and_counts_once(bench: Bench, error: StoreError) -> None:
    add = bench.store.add_minutes

    async def applied_but_not_confirmed(*args: object) -> None:
        await add(*args)  # type: ignore[arg-type]
        raise error

    bench.minutes.note_started("default", "demo", 2, waited_s=0.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bench.store, "add_minutes", applied_but_not_confirmed)
        with pytest.raises(type(error)):
            await bench.minutes.write()
    bench.minutes.note_started("default", "demo", 5, waited_s=0.0)
    await bench.minutes.write()
    assert (await bench.counts("demo"))[STARTED] == 7
    assert (await bench.counts())[STARTED] == 7


async def test_what_the_store_refuses_blocks_nothing_that_comes_later(bench: Bench) -> None:
    bench.store.failures["add_minutes"] = [StoreError("refused")]
    bench.minutes.note_started("default", "demo", 2, waited_s=0.0)
    with pytest.raises(StoreError):
        await bench.minutes.write()
    bench.minutes.note_started("default", "demo", 5, waited_s=0.0)
    await bench.minutes.write()
    assert (await bench.counts("demo"))[STARTED] == 5


async def test_the_rest_is_written_when_the_process_leaves(bench: Bench) -> None:
    bench.minutes.note_started("default", "demo", 2, waited_s=0.0)
    await bench.minutes.stop()
    assert (await bench.counts("demo"))[STARTED] == 2


async def test_a_store_that_is_away_keeps_no_process_from_leaving(bench: Bench) -> None:
    bench.store.is_away = True
    bench.minutes.note_started("default", "demo", 2, waited_s=0.0)
    await bench.minutes.stop()
    assert bench.store.calls == ["add_minutes"]


async def test_two_processes_add_up_and_two_minutes_stay_apart(bench: Bench) -> None:
    other = MinuteWriter(bench.store, bench.clock)
    for writer in (bench.minutes, other):
        writer.note_started("default", "demo", 1, waited_s=0.0)
    bench.clock.advance(MINUTE_S)
    bench.minutes.note_started("default", "demo", 1, waited_s=0.0)
    await bench.minutes.write()
    await other.write()
    buckets = await bench.store.minutes("default", "demo", step_s=60, since_at=bench.clock.now() - timedelta(hours=1))
    assert [bucket.counts[STARTED] for bucket in buckets] == [1, 1, 1]
    assert len({bucket.at for bucket in buckets}) == 2
