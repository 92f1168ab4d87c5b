"""Parked jobs: which park applies, what wakes them, and what they store meanwhile."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, Owner, Reason, State, Transition
from acked_common.model.lifecycle_waits import (
    ANY_SIGNAL,
    MOST_NAMES,
    WITHOUT_END,
    Waits,
    park,
    waits_fields,
    waits_from,
    wake,
)
from acked_common.store.records import Applied, Job
from support.factories import ManualClock, new_job
from support.memory_store import MemoryStore

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUE = {"grace_s": 10.0, "expires_in_s": 3600.0}
SLEEP = Waits("sleep", "cool-off", AT + timedelta(days=30))
WAIT = Waits("wait", "paid", None, ("paid",))


class Parking:
    """A store with one running job, and what happens to the job."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)

    async def begin(self) -> Job:
        given = new_job(at=self.clock.now())
        await self.store.insert([given])
        await self.store.claim(
            [given.id], kinds=[given.kind], owner=Owner("w", "b", "n"), lease_s=30.0, at=self.clock.now()
        )
        return await self.job(given.id)

    async def job(self, job_id: UUID) -> Job:
        found = await self.store.get(job_id)
        assert found is not None
        return found

    async def move(self, job: Job, transition: Transition, **seen: Any) -> tuple[Applied, Job]:
        (outcome,) = await self.store.apply([Move(replace(job.seen, **seen), transition)])
        return outcome, await self.job(job.id)

    def announce(self, job: Job, signals: int) -> None:
        self.store._jobs[job.id]["signals"] = signals


@pytest.mark.parametrize(
    "waits", [SLEEP, WAIT, Waits("first", "payment", AT, ("late", "paid")), Waits("try", "quote#1", AT)]
)
def test_waits_survive_their_fields(waits: Waits) -> None:
    assert waits_from(waits_fields(waits)) == waits
    assert waits_from(None) is None


def test_a_job_that_waits_for_many_names_is_woken_by_any() -> None:
    names = tuple(f"go-{n}" for n in range(MOST_NAMES + 1))
    most = waits_from(waits_fields(Waits("wait", "go", None, names[:-1])))
    any_of_all = waits_from(waits_fields(Waits("wait", "go", None, names)))
    assert most is not None and any_of_all is not None
    assert most.wakes_on("go-1") and not most.wakes_on(names[-1])
    assert any_of_all.signals == (ANY_SIGNAL,)
    assert any_of_all.wakes_on(names[-1]) and any_of_all.wakes_on("another")


def test_a_job_that_sleeps_is_woken_by_no_signal() -> None:
    assert not SLEEP.wakes_on("cool-off")
    assert WAIT.wakes_on("paid") and not WAIT.wakes_on("payed")


def test_a_name_counts_once_in_the_fields() -> None:
    assert waits_fields(Waits("wait", "go", None, ("go",) * 200)) == {"call": "wait", "name": "go", "signals": ["go"]}


@pytest.mark.parametrize(
    ("waits", "check_at"),
    [(SLEEP, SLEEP.until_at), (WAIT, AT + WITHOUT_END), (replace(SLEEP, until_at=AT - timedelta(days=1)), AT)],
)
def test_a_parked_job_is_checked_at_the_end_of_its_wait(waits: Waits, check_at: datetime) -> None:
    assert park(at=AT, waits=waits).sets["next_check_at"] == check_at


async def test_a_park_ends_the_attempt_without_a_failure() -> None:
    parking = Parking()
    job = await parking.begin()
    outcome, parked = await parking.move(job, park(at=parking.clock.now(), waits=WAIT))

    assert outcome is Applied.APPLIED
    assert (parked.state, parked.reason, parked.waits) == (State.WAITING, Reason.PARKED, WAIT)
    assert (parked.owner, parked.failures, parked.attempt, parked.expires_at) == (None, 0, 1, None)


@pytest.mark.parametrize(
    ("announced", "read", "outcome"),
    [
        (0, 0, Applied.APPLIED),
        (3, 3, Applied.APPLIED),
        (3, 4, Applied.APPLIED),
        (1, 0, Applied.STALE),
        (4, 3, Applied.STALE),
        (4, None, Applied.APPLIED),
    ],
)
async def test_a_park_that_missed_a_signal_is_refused(announced: int, read: int | None, outcome: Applied) -> None:
    parking = Parking()
    job = await parking.begin()
    if announced:
        parking.announce(job, announced)
    found, after = await parking.move(job, park(at=parking.clock.now(), waits=WAIT), signals=read)
    assert found is outcome
    assert (after.state is State.WAITING) is (outcome is Applied.APPLIED)
    assert after.signals == announced


async def test_a_cancel_request_wins_over_a_park() -> None:
    parking = Parking()
    job = await parking.begin()
    _, asked = await parking.move(job, interventions.request_cancel(at=parking.clock.now()))
    outcome, after = await parking.move(asked, park(at=parking.clock.now(), waits=SLEEP))
    assert (outcome, after.state) == (Applied.STALE, State.RUNNING)


@pytest.mark.parametrize("reason", [Reason.WOKEN, Reason.SIGNALLED])
async def test_a_wake_queues_the_job_for_its_next_attempt(reason: Reason) -> None:
    parking = Parking()
    job = await parking.begin()
    _, parked = await parking.move(job, park(at=parking.clock.now(), waits=WAIT))
    parking.clock.advance(100.0)
    at = parking.clock.now()
    outcome, woken = await parking.move(parked, wake(at=at, reason=reason, **QUEUE))

    assert outcome is Applied.APPLIED
    assert (woken.state, woken.reason, woken.waits) == (State.QUEUED, reason, None)
    assert (woken.queued_at, woken.expires_at) == (at, at + timedelta(seconds=3600))
    owner = Owner("w", "b", "n2")
    (claimed,) = await parking.store.claim([job.id], kinds=[job.kind], owner=owner, lease_s=30.0, at=at)
    assert claimed.attempt == 2


_RETENTION = {"retention_s": 60.0}
LEAVING: dict[str, Callable[[datetime], Transition]] = {
    "wake": lambda at: wake(at=at, **QUEUE),
    "cancel": lambda at: interventions.cancel(at=at, **_RETENTION),
}


@pytest.mark.parametrize("name", LEAVING)
async def test_what_leaves_waiting_clears_the_reason_of_the_wait(name: str) -> None:
    parking = Parking()
    job = await parking.begin()
    _, parked = await parking.move(job, park(at=parking.clock.now(), waits=WAIT))
    outcome, after = await parking.move(parked, LEAVING[name](parking.clock.now()))
    assert outcome is Applied.APPLIED
    assert (after.state is not State.WAITING, after.waits) == (True, None)


async def test_a_retry_of_a_cancelled_park_starts_a_new_run() -> None:
    parking = Parking()
    job = await parking.begin()
    _, parked = await parking.move(job, park(at=parking.clock.now(), waits=SLEEP))
    _, cancelled = await parking.move(parked, interventions.cancel(at=parking.clock.now(), **_RETENTION))
    _, again = await parking.move(cancelled, interventions.retry(at=parking.clock.now(), **QUEUE))
    assert (again.state, again.run, again.waits) == (State.QUEUED, 2, None)


async def test_a_job_is_not_claimed_while_it_is_parked() -> None:
    parking = Parking()
    job = await parking.begin()
    await parking.move(job, park(at=parking.clock.now(), waits=SLEEP))
    owner, at = Owner("w", "b", "n2"), parking.clock.now()
    assert await parking.store.claim([job.id], kinds=[job.kind], owner=owner, lease_s=30.0, at=at) == []


def test_a_job_without_durable_calls_gains_no_field() -> None:
    for transition in (
        lifecycle.claim(at=AT, owner=Owner("w", "b", "n"), lease_s=1.0),
        lifecycle.succeed(at=AT, result=b"1", retention_s=1.0),
    ):
        assert not {"waits", "signals"} & (transition.sets.keys() | transition.clears)
