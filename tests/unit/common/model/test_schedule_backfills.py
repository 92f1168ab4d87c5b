"""Which past instants a backfill starts: each at most once, in order, bounded, and by the rule for overlaps."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model import schedule_backfills, schedule_rules
from acked_common.model.pauses import Pause
from acked_common.model.schedule_backfills import candidates
from acked_common.model.schedule_instants import job_id_of
from acked_common.model.schedules import (
    BACKFILL_LOOKED,
    MOST_AT_ONCE,
    Backfill,
    Overlap,
    Schedule,
    ScheduleOrder,
    Timing,
    Trigger,
    Why,
    Work,
)

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVERY_S = 60


def past(minutes: float) -> datetime:
    return AT - timedelta(minutes=minutes)


def order(overlap: Overlap = Overlap.ALL, every_s: int = EVERY_S) -> ScheduleOrder:
    return ScheduleOrder(Timing(every_s=every_s), Work("noop"), overlap)


def schedule(overlap: Overlap = Overlap.ALL) -> Schedule:
    return schedule_rules.define(None, order(overlap), tenant="acme", name="tick", now=AT)


def asked(one: Schedule, from_at: datetime, until_at: datetime = AT, limit: int = 1000) -> Schedule:
    found = schedule_backfills.ask(one, from_at=from_at, until_at=until_at, limit=limit, now=AT)
    assert found is not None
    return found


def of(one: Schedule) -> Backfill:
    assert one.progress.backfill is not None
    return one.progress.backfill


def counts(one: Schedule) -> tuple[int, int, int]:
    return of(one).started, of(one).present, of(one).refused


class Intake:
    """Looks until nothing changes, and stores the jobs that start."""

    def __init__(self, *known: UUID) -> None:
        self.jobs = set(known)
        self.live: set[UUID] = set()
        self.order: list[datetime] = []

    def look(self, one: Schedule, now: datetime = AT) -> Schedule:
        decided = schedule_rules.decide(one, now=now, live=self.live, known=self.jobs & set(candidates(one)))
        for firing in decided.progress.starting:
            assert firing.job is not None
            assert firing.job not in self.jobs, "a second job of an instant"
            self.jobs.add(firing.job)
            self.live.add(firing.job)
            self.order.append(firing.at)
        return schedule_rules.started(decided, self.jobs)

    def run(self, one: Schedule) -> Schedule:
        for _ in range(1000):
            one = self.look(one)
            self.live.clear()
            if of(one).ended_at is not None:
                return one
        raise AssertionError("it does not end")


def test_each_instant_of_the_range_starts_once_and_in_order() -> None:
    intake = Intake()
    one = intake.run(asked(schedule(), past(30), past(5)))
    assert intake.order == [past(minute) for minute in range(30, 5, -1)]
    assert counts(one) == (25, 0, 0)
    again = intake.run(asked(one, past(40), past(5)))
    assert (counts(again), len(intake.jobs)) == ((10, 25, 0), 35)


def test_an_instant_that_fired_under_another_definition_is_passed_over() -> None:
    one = schedule()
    fired = {job_id_of(one, past(minute), Trigger.SCHEDULE) for minute in (2, 4)}
    changed = schedule_rules.define(
        one, replace(one.order, work=Work("noop", b"[1]")), tenant="acme", name="tick", now=AT
    )
    intake = Intake(*fired)
    assert counts(intake.run(asked(changed, past(5)))) == (3, 2, 0)


def test_a_look_starts_and_examines_a_bounded_number() -> None:
    one = asked(schedule(), past(300))
    assert len(candidates(one)) == BACKFILL_LOOKED
    looked = Intake().look(one)
    assert (counts(looked), of(looked).next_at) == ((MOST_AT_ONCE, 0, 0), past(300 - MOST_AT_ONCE))
    known = {job_id_of(one, past(minute), Trigger.SCHEDULE) for minute in range(1, 301)}
    passed = Intake(*known).look(one)
    assert (counts(passed), of(passed).next_at) == ((0, BACKFILL_LOOKED, 0), past(300 - BACKFILL_LOOKED))


def test_the_limit_ends_it_and_names_the_next_instant() -> None:
    one = Intake().run(asked(schedule(), past(90), limit=33))
    assert (counts(one), of(one).next_at, of(one).ended_at) == ((33, 0, 0), past(57), AT)


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE_ONE, Overlap.CANCEL_RUNNING])
def test_where_firings_may_not_overlap_one_job_runs_at_a_time(overlap: Overlap) -> None:
    intake = Intake()
    one = intake.look(asked(schedule(overlap), past(3)))
    assert intake.order == [past(3)]
    one = intake.look(one)
    assert (intake.order, counts(one)) == ([past(3)], (1, 0, 0)), "its job is live"
    assert schedule_rules.look_at(one, AT) == AT + timedelta(seconds=1)
    intake.live.clear()
    one = intake.run(one)
    assert (intake.order, counts(one)) == ([past(3), past(2), past(1)], (3, 0, 0))


def test_what_is_due_comes_first_and_is_no_instant_of_the_backfill() -> None:
    one = asked(schedule(), past(2), AT + timedelta(minutes=5))
    intake = Intake()
    one = intake.look(one)
    # The backfill stays behind what the schedule decides by itself.
    assert (intake.order, of(one).next_at) == ([past(2), past(1), AT], AT + timedelta(minutes=1))
    for minute in range(1, 6):
        one = intake.look(one, AT + timedelta(minutes=minute))
    assert sorted(intake.order) == intake.order and len(intake.order) == len(set(intake.order))


def test_a_refused_job_is_counted_and_may_be_asked_for_again() -> None:
    one = asked(schedule(), past(1.5))
    decided = schedule_rules.decide(one, now=AT, live=())
    (firing,) = decided.progress.starting
    refused = schedule_rules.refuse(decided, firing, Why.QUOTA, "full")
    assert (counts(refused), of(refused).ended_at) == ((0, 0, 1), AT)
    assert refused.progress.firings[-1].trigger is Trigger.BACKFILL
    assert counts(Intake().run(asked(refused, past(1.5)))) == (1, 0, 0)


def test_a_pause_holds_it_and_a_resume_lets_it_go_on() -> None:
    one = schedule_rules.pause(asked(schedule(), past(3)), Pause("ann", None, "why", AT))
    assert (candidates(one), schedule_rules.look_at(one, AT)) == ([], None)
    assert counts(Intake().look(one)) == (0, 0, 0)
    resumed = schedule_rules.resume(one, now=AT)
    assert schedule_rules.look_at(resumed, AT) == AT
    assert counts(Intake().run(resumed)) == (3, 0, 0)


def test_another_timing_ends_it() -> None:
    one = Intake().look(asked(schedule(), past(100)))
    changed = schedule_rules.define(one, order(every_s=7), tenant="acme", name="tick", now=AT)
    assert (of(changed).ended_at, candidates(changed)) == (AT, [])


def test_the_same_request_goes_on_and_another_takes_its_place() -> None:
    one = Intake().look(asked(schedule(), past(100)))
    assert asked(one, past(100)) is one
    other = asked(one, past(100), limit=5)
    assert (of(other).limit, counts(other)) == (5, (0, 0, 0))


def test_a_range_without_an_instant_is_no_backfill() -> None:
    for from_at, until_at in ((past(0.9), past(0.1)), (past(3), past(3))):
        assert schedule_backfills.ask(schedule(), from_at=from_at, until_at=until_at, limit=9, now=AT) is None
