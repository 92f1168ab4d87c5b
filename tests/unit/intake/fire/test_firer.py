"""Schedules fire once an instant, whatever dies, and each firing that starts no job says why."""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.model import schedule_backfills, schedule_rules
from acked_common.model.ids import instant_of
from acked_common.model.lifecycle import State
from acked_common.model.options import JobOptions
from acked_common.model.schedules import (
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    ScheduleOrder,
    Timing,
    Trigger,
    Why,
    Work,
)
from acked_common.runtime.settings import JobTimes
from acked_common.store.records import JobFilter
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.fire.firer import Firer, FiringAdmission
from acked_intake.settings import Quotas
from support.factories import ManualClock, kind_record
from support.memory_store import MemoryStore
from support.parts import admission, common_settings

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
TIMES: JobTimes = common_settings().times
INTAKES = 4
MINUTES = 1440
SECONDS_SIMULATED = 14
"""Of each minute; nothing is due later. Longer than another intake waits for one that died."""
KILLED_EVERY_S = 2


class _Step:
    """A point at which another intake goes on, or this one dies."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Stepped:
    """A store whose verbs stop before and behind their effect."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        verb = getattr(self._store, name)

        async def stepped(*args: Any, **named: Any) -> Any:
            await _Step()
            found = await verb(*args, **named)
            await _Step()
            return found

        return stepped


class Bench:
    """A store, and intakes over it."""

    def __init__(self, *, quota: int = 0) -> None:
        self.clock = ManualClock(AT)
        self.store = MemoryStore(self.clock)
        self.kinds = KindCache(self.store, self.clock.monotonic)
        self.quota = QuotaCounter(self.store, Quotas(quota, 0))
        self.schedules = self.store.schedules()

    async def begin(self) -> None:
        await self.store.register_kinds([kind_record("noop", "noop")])
        await self.kinds.refresh()

    def intake(self, *, stepped: bool = False) -> Firer:
        over: Callable[[Any], Any] = Stepped if stepped else lambda store: store
        found = admission(self.store, self.kinds)
        return Firer(
            over(self.schedules),
            over(self.store),
            JobWriter(over(self.store), lambda _: None),
            FiringAdmission(self.kinds, found.payloads, self.quota, found.endpoints),
            self.clock,
            TIMES,
        )

    async def define(self, overlap: Overlap = Overlap.SKIP, *, kind: str = "noop", **timing: Any) -> Schedule:
        work = Work(kind, b'{"n":1}', JobOptions(batch="b", tags=("mine",)))
        order = ScheduleOrder(Timing(**(timing or {"cron": "* * * * *", "timezone": "UTC"})), work, overlap)
        made = schedule_rules.define(None, order, tenant="acme", name="tick", now=self.clock.now())
        made = schedule_rules.written(made, self.clock.now())
        await self.schedules.add(made)
        return made

    async def now(self) -> Schedule:
        found = await self.schedules.get("tick", tenant="acme")
        assert found is not None
        return found

    async def firings(self) -> tuple[Firing, ...]:
        return (await self.now()).progress.firings

    async def fire_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.intake().fire()


@pytest.fixture
async def bench() -> Bench:
    found = Bench()
    await found.begin()
    return found


async def test_each_instant_has_one_job_while_intakes_die(bench: Bench) -> None:
    random = Random(7)
    await bench.define(Overlap.ALL)
    kills = 0
    for minute in range(1, MINUTES + 1):
        at = AT + timedelta(minutes=minute)
        bench.clock.advance((at - bench.clock.now()).total_seconds())
        running: list[Coroutine[Any, Any, None] | None] = [None] * INTAKES
        for second in range(SECONDS_SIMULATED):
            running = [one if one is not None else bench.intake(stepped=True).fire() for one in running]
            dies = random.randrange(INTAKES) if second % KILLED_EVERY_S == 0 else None
            kills += _go_on(running, random, dies)
            bench.clock.advance(1)
        for one in running:
            if one is not None:
                one.close()
    jobs = sorted(instant_of(job_id) for job_id in bench.store._jobs)
    assert jobs == [AT + timedelta(minutes=minute) for minute in range(1, MINUTES + 1)]
    assert kills > MINUTES
    assert {firing.outcome for firing in await bench.firings()} == {FiringOutcome.STARTED}


def _go_on(running: list[Coroutine[Any, Any, None] | None], random: Random, dies: int | None) -> int:
    """Let the intakes go on in any order for a second; one of them dies between any two steps. Return the deaths."""
    left, deaths = random.randrange(1, 16), 0
    turns = 60
    while turns and any(one is not None for one in running):
        turns -= 1
        which = random.randrange(len(running))
        one = running[which]
        if one is None:
            continue
        if which == dies:
            left -= 1
            if not left:
                one.close()
                running[which], dies, deaths = None, None, 1
                continue
        try:
            one.send(None)
        except StopIteration:
            running[which] = None
    return deaths


async def test_a_firing_starts_a_job_as_defined(bench: Bench) -> None:
    await bench.define()
    await bench.fire_after(61)
    (firing,) = await bench.firings()
    (summary,) = (await bench.store.list_jobs(JobFilter(tenant="acme", tag="schedule:tick"), page_size=9)).jobs
    job = await bench.store.get(summary.id, tenant="acme")
    assert job is not None and job.id == firing.job
    assert (job.kind, job.payload, job.options.batch) == ("noop", b'{"n":1}', "b")
    assert (job.options.tags, job.state) == (("mine", "schedule:tick"), State.QUEUED)
    assert (firing.outcome, firing.at, instant_of(job.id)) == (
        FiringOutcome.STARTED,
        AT + timedelta(minutes=1),
        firing.at,
    )


async def test_a_live_job_holds_back_the_next_one_and_its_end_lets_it_go(bench: Bench) -> None:
    await bench.define(Overlap.QUEUE_ONE)
    await bench.fire_after(61)
    await bench.fire_after(60)
    assert (await bench.now()).progress.held is not None
    (firing,) = await bench.firings()
    assert firing.job is not None
    bench.store._jobs[firing.job]["state"] = State.SUCCEEDED.value
    await bench.fire_after(5)
    assert [one.outcome for one in await bench.firings()] == [FiringOutcome.STARTED] * 2


async def test_cancel_running_cancels_the_live_job_first(bench: Bench) -> None:
    await bench.define(Overlap.CANCEL_RUNNING)
    await bench.fire_after(61)
    (first,) = await bench.firings()
    assert first.job is not None
    await bench.fire_after(60)
    cancelled = await bench.store.get(first.job, tenant="acme")
    assert cancelled is not None and cancelled.state is State.CANCELLED
    await bench.fire_after(2)
    assert [one.outcome for one in await bench.firings()] == [FiringOutcome.STARTED] * 2


async def test_a_kind_that_is_gone_is_a_firing_with_the_reason(bench: Bench) -> None:
    await bench.define(kind="gone")
    await bench.fire_after(61)
    (firing,) = await bench.firings()
    assert (firing.outcome, firing.why) == (FiringOutcome.REFUSED, Why.UNKNOWN_KIND)
    assert "no worker has registered kind 'gone'" in (firing.detail or "")


async def test_a_reached_quota_is_a_firing_with_the_reason() -> None:
    bench = Bench(quota=1)
    await bench.begin()
    await bench.define(Overlap.ALL)
    await bench.fire_after(121)
    assert [(one.outcome, one.why) for one in sorted(await bench.firings(), key=lambda one: one.outcome)] == [
        (FiringOutcome.REFUSED, Why.QUOTA),
        (FiringOutcome.STARTED, None),
    ]


async def test_a_zone_that_is_gone_stops_its_schedule_alone(bench: Bench) -> None:
    order = ScheduleOrder(Timing(cron="* * * * *", timezone="Nowhere/Gone"), Work("noop"))
    made = Schedule("acme", "tick", 1, 1, AT, AT, order, schedule_rules.ScheduleProgress(next_at=AT), look_at=AT)
    await bench.schedules.add(made)
    await bench.fire_after(1)
    (firing,) = await bench.firings()
    assert (firing.outcome, firing.why) == (FiringOutcome.REFUSED, Why.TIME_ZONE)
    assert (await bench.now()).look_at is None


async def test_each_past_instant_has_one_job_while_intakes_die(bench: Bench) -> None:
    random = Random(11)
    await bench.define(Overlap.ALL)
    await bench.fire_after(61)
    asked = schedule_backfills.ask(
        await bench.now(),
        from_at=AT - timedelta(hours=2),
        until_at=bench.clock.now(),
        limit=1000,
        now=bench.clock.now(),
    )
    assert asked is not None
    assert await bench.schedules.replace(schedule_rules.written(asked, bench.clock.now()))
    running: list[Coroutine[Any, Any, None] | None] = [None] * INTAKES
    kills = 0
    for second in range(300):
        running = [one if one is not None else bench.intake(stepped=True).fire() for one in running]
        dies = random.randrange(INTAKES) if second % KILLED_EVERY_S == 0 else None
        kills += _go_on(running, random, dies)
        bench.clock.advance(0.1)
    for one in running:
        if one is not None:
            one.close()
    found = (await bench.now()).progress.backfill
    assert found is not None and (found.ended_at is not None, found.present) == (True, 1)
    jobs = sorted(instant_of(job_id) for job_id in bench.store._jobs)
    first = AT - timedelta(hours=2)
    assert jobs == [first + timedelta(minutes=minute) for minute in range(len(jobs))]
    assert (len(jobs) >= 122, kills > 10) == (True, True), kills


async def test_run_now_fires_a_paused_schedule(bench: Bench) -> None:
    made = await bench.define()
    paused = schedule_rules.pause(made, schedule_rules.Pause("ann", None, None, AT))
    asked = schedule_rules.written(schedule_rules.ask(paused, now=AT), AT)
    assert await bench.schedules.replace(asked)
    await bench.fire_after(1)
    (firing,) = await bench.firings()
    assert (firing.trigger, firing.outcome) == (Trigger.RUN_NOW, FiringOutcome.STARTED)
