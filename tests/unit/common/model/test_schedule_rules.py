"""What becomes of due instants: overlap, catch-up, jitter, ids, and definitions that change."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import RFC_4122, UUID

import pytest
from msgspec.structs import replace

from acked_common.model import schedule_rules
from acked_common.model.ids import instant_of
from acked_common.model.pauses import Pause
from acked_common.model.schedule_instants import fires_at, instants, job_id_of
from acked_common.model.schedule_rules import decide, define, started, written
from acked_common.model.schedules import (
    FIRINGS_KEPT,
    MISSED_COUNTED,
    MOST_AT_ONCE,
    FiringOutcome,
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


def order(overlap: Overlap = Overlap.SKIP, *, catch_up_s: int = 3600, **timing: object) -> ScheduleOrder:
    return ScheduleOrder(Timing(**{"every_s": EVERY_S, **timing}), Work("noop"), overlap, catch_up_s)  # type: ignore[arg-type]


def schedule(overlap: Overlap = Overlap.SKIP, **asked: object) -> Schedule:
    made = define(None, order(overlap, **asked), tenant="acme", name="tick", now=AT)  # type: ignore[arg-type]
    return written(made, AT)


def later(minutes: float) -> datetime:
    return AT + timedelta(minutes=minutes)


def fired(one: Schedule, at: datetime, live: set[UUID] | None = None) -> Schedule:
    """The schedule after a whole look."""
    decided = decide(one, now=at, live=set(one.progress.live) if live is None else live)
    return started(decided, {firing.job for firing in decided.progress.starting if firing.job})


def outcomes(one: Schedule) -> list[tuple[FiringOutcome, int]]:
    return [(firing.outcome, firing.count) for firing in one.progress.firings]


def test_nothing_is_decided_before_an_instant_is_due() -> None:
    made = schedule()
    assert made.look_at == later(1)
    assert decide(made, now=later(0.9), live=()) == made


def test_a_due_instant_starts_its_job_and_the_next_one_follows() -> None:
    decided = decide(schedule(), now=later(1), live=())
    (firing,) = decided.progress.starting
    assert (firing.at, firing.outcome, decided.progress.next_at) == (later(1), FiringOutcome.STARTING, later(2))
    assert decide(decided, now=later(5), live=()) == decided, "a decision under way comes first"
    done = started(decided, {firing.job} if firing.job else ())
    assert (outcomes(done), done.progress.live) == ([(FiringOutcome.STARTED, 1)], (firing.job,))


def test_the_id_of_an_instant_is_one_in_all_processes() -> None:
    one = schedule()
    made = job_id_of(one, later(1), Trigger.SCHEDULE)
    assert (made.version, made.variant, instant_of(made)) == (7, RFC_4122, later(1))
    # Under whatever definition, and whether it fires or is backfilled: no instant has two jobs.
    assert made == job_id_of(replace(one, rev=7, revision=2), later(1), Trigger.SCHEDULE)
    assert made == job_id_of(one, later(1), Trigger.BACKFILL)
    others = {
        job_id_of(other, later(1), Trigger.SCHEDULE)
        for other in (
            replace(one, tenant="globex"),
            replace(one, name="tock"),
            replace(one, made_at=later(-1)),
        )
    } | {job_id_of(one, later(1), Trigger.RUN_NOW), job_id_of(one, later(2), Trigger.SCHEDULE)}
    assert (made in others, len(others)) == (False, 5)


def test_skip_skips_while_a_job_is_live_and_counts_alike_ones_together() -> None:
    one = fired(schedule(), later(1))
    for minute in (2, 3, 4):
        one = fired(one, later(minute))
    assert outcomes(one) == [(FiringOutcome.STARTED, 1), (FiringOutcome.SKIPPED, 3)]
    last = one.progress.firings[-1]
    assert (last.why, last.at, last.last_at, last.job) == (Why.OVERLAP, later(2), later(4), None)
    one = fired(one, later(5), live=set())
    assert outcomes(one)[-1] == (FiringOutcome.STARTED, 1)


def test_all_starts_every_instant() -> None:
    one = schedule(Overlap.ALL)
    for minute in (1, 2, 3):
        one = fired(one, later(minute))
    assert outcomes(one) == [(FiringOutcome.STARTED, 1)] * 3


def test_queue_one_holds_one_and_starts_it_once_nothing_is_live() -> None:
    one = schedule(Overlap.QUEUE_ONE)
    for minute in (1, 2, 3):
        one = fired(one, later(minute))
    held = one.progress.held
    assert held is not None and held.at == later(2)
    assert outcomes(one) == [(FiringOutcome.STARTED, 1), (FiringOutcome.SKIPPED, 1)]
    one = fired(one, later(3.5), live=set())
    assert (one.progress.held, one.progress.live) == (None, (held.job,))
    assert [firing.at for firing in one.progress.firings if firing.outcome is FiringOutcome.STARTED] == [
        later(1),
        later(2),
    ]


def test_cancel_running_holds_the_newest_and_supersedes_the_one_before() -> None:
    one = schedule(Overlap.CANCEL_RUNNING)
    for minute in (1, 2, 3):
        one = fired(one, later(minute))
    assert one.progress.held is not None and one.progress.held.at == later(3)
    assert [(f.outcome, f.why) for f in one.progress.firings] == [
        (FiringOutcome.STARTED, None),
        (FiringOutcome.SKIPPED, Why.SUPERSEDED),
    ]


def test_instants_within_the_catch_up_start_and_older_ones_are_missed_together() -> None:
    one = schedule(Overlap.ALL, catch_up_s=180)
    decided = decide(one, now=later(10.5), live=())
    assert [firing.at for firing in decided.progress.starting] == [later(8), later(9), later(10)]
    (missed,) = decided.progress.firings
    assert (missed.outcome, missed.why, missed.count) == (FiringOutcome.MISSED, Why.CATCH_UP, 7)
    assert (missed.at, missed.last_at, decided.progress.next_at) == (later(1), later(7), later(11))


def test_a_long_absence_is_counted_up_to_a_bound_and_costs_little() -> None:
    decided = decide(schedule(catch_up_s=60, every_s=1), now=AT + timedelta(days=30), live=())
    first = decided.progress.firings[0]
    assert (first.outcome, first.count) == (FiringOutcome.MISSED, MISSED_COUNTED)
    assert decided.progress.starting[0].at == AT + timedelta(days=30, seconds=-60)


def test_a_look_decides_a_bounded_number_of_instants() -> None:
    decided = decide(schedule(Overlap.ALL), now=later(50), live=())
    assert len(decided.progress.starting) == MOST_AT_ONCE
    assert decided.progress.next_at == later(MOST_AT_ONCE + 1)


def test_firings_are_kept_in_a_bounded_number() -> None:
    one = schedule(Overlap.ALL)
    for minute in range(1, FIRINGS_KEPT + 20):
        one = fired(one, later(minute))
    assert len(one.progress.firings) == FIRINGS_KEPT
    assert one.progress.firings[-1].at == later(FIRINGS_KEPT + 19)


def test_jitter_delays_by_less_than_its_bound_the_same_everywhere() -> None:
    one = schedule(jitter_s=30)
    delays = {fires_at(one, later(n)) - later(n) for n in range(50)}
    assert timedelta() <= min(delays) < max(delays) < timedelta(seconds=30)
    assert len(delays) > 40
    assert one.look_at == fires_at(one, later(1))
    decided = decide(one, now=later(1.5), live=())
    assert decided.progress.starting[0].at == later(1)


def test_bounds_limit_the_instants() -> None:
    timing = Timing(every_s=EVERY_S, from_at=later(3.5), until_at=later(6))
    assert list(islice(instants(timing, AT), 5)) == [later(3.5), later(4.5), later(5.5)]
    cron = Timing(cron="*/2 * * * *", timezone="UTC", from_at=later(4), until_at=later(8))
    assert list(islice(instants(cron, AT), 5)) == [later(4), later(6)]


def test_the_same_definition_again_changes_nothing() -> None:
    one = schedule()
    assert define(one, order(), tenant="acme", name="tick", now=later(3)) is one


def test_another_payload_keeps_an_instant_that_is_due() -> None:
    changed = define(
        schedule(),
        replace(order(), work=Work("noop", b"[1]")),
        tenant="acme",
        name="tick",
        now=later(1.5),
    )
    assert (changed.revision, changed.progress.next_at) == (2, later(1))


def test_another_timing_counts_from_now_and_decides_no_instant_twice() -> None:
    one = fired(schedule(), later(2))
    # The clock of this process is behind that of the one that fired.
    changed = define(one, order(jitter_s=1), tenant="acme", name="tick", now=later(1))
    assert changed.progress.next_at == later(3)


def test_a_pause_stops_all_but_run_now_and_nothing_is_caught_up() -> None:
    one = schedule(Overlap.QUEUE_ONE)
    one = fired(fired(one, later(1)), later(2))
    assert one.progress.held is not None
    paused = written(schedule_rules.pause(one, Pause("ann", None, "why", later(2))), later(2))
    after = fired(paused, later(5), live=set())
    assert [(f.outcome, f.why) for f in after.progress.firings][-1] == (FiringOutcome.SKIPPED, Why.PAUSED)
    asked = schedule_rules.ask(after, now=later(6))
    assert schedule_rules.ask(asked, now=later(7)) is asked
    ran = fired(asked, later(6))
    assert (ran.progress.firings[-1].trigger, ran.progress.firings[-1].outcome) == (
        Trigger.RUN_NOW,
        FiringOutcome.STARTED,
    )
    resumed = schedule_rules.resume(ran, now=later(9.5))
    assert (resumed.pause, resumed.progress.next_at) == (None, later(10))


def test_run_now_obeys_the_overlap_rule() -> None:
    one = schedule_rules.ask(fired(schedule(), later(1)), now=later(1.1))
    ran = fired(one, later(1.2))
    assert (ran.progress.asked, outcomes(ran)[-1]) == (None, (FiringOutcome.SKIPPED, 1))


def test_a_refused_firing_has_its_reason() -> None:
    decided = decide(schedule(), now=later(1), live=())
    refused = schedule_rules.refuse(decided, decided.progress.starting[0], Why.PAYLOAD, "x" * 900)
    (firing,) = refused.progress.firings
    assert (firing.outcome, firing.why, len(firing.detail or ""), firing.job) == (
        FiringOutcome.REFUSED,
        Why.PAYLOAD,
        500,
        None,
    )
    assert (refused.progress.starting, refused.progress.live) == ((), ())


@pytest.mark.parametrize("waited_s", [0, 100, 10_000])
def test_a_held_firing_is_looked_at_within_a_tenth_of_its_wait(waited_s: int) -> None:
    one = schedule(Overlap.QUEUE_ONE, until_at=later(2.5))
    one = fired(fired(one, later(1)), later(2))
    at = later(2) + timedelta(seconds=waited_s)
    found = schedule_rules.look_at(one, at)
    assert found is not None
    assert 1 <= (found - at).total_seconds() <= 30
