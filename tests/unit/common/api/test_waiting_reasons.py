"""One sentence for every live job, and an honest time to ask again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.api.waiting_reasons import MAX_GUESS_S, MAX_RETRY_S, MIN_RETRY_S, Facts, Outlook, outlook
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import LIVE, HistoryEntry, Owner, Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.queue_place import Place
from acked_common.store.records import Job

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = Owner("worker-2", "boot", "nonce")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def job(state: State = State.QUEUED, reason: str = Reason.ACCEPTED, **fields: Any) -> Job:
    made = Job(
        id=new_id(),
        kind="mail",
        state=state,
        reason=reason,
        rev=1,
        run=1,
        attempt=0,
        failures=0,
        crashes=0,
        accepted_at=ago(100),
        payload=b"{}",
        first_state=State.QUEUED,
    )
    return replace(made, **{"queued_at": ago(30) if state is State.QUEUED else None, **fields})


def outlook_of(found: Job, **facts: Any) -> Outlook:
    found_outlook = outlook(found, Facts(now=NOW, **facts))
    assert found_outlook is not None
    return found_outlook


def test_no_worker_serves_the_kind() -> None:
    found = outlook_of(job(expires_at=NOW + timedelta(days=1)), is_served=False)
    assert found.hint == (
        "no worker that serves kind 'mail' runs at the moment; it expires at 2026-01-03T03:04:05.000Z"
    )
    assert found.retry_after_s == 30


def test_a_pause_says_who_and_wins_over_all_else() -> None:
    found = outlook_of(job(), is_served=False, pause="kind 'mail' is paused by ops since then", place=Place(7))
    assert found == Outlook("kind 'mail' is paused by ops since then", 30)


def test_a_place_and_a_rate_tell_when_a_job_starts() -> None:
    found = outlook_of(job(), place=Place(411, starts_per_s=1.58))
    assert found.hint == "about 411 jobs of its kind are ahead of it; 95 start a minute, so it starts in about 4.3 min"
    assert found.retry_after_s == 261
    assert outlook_of(job(), place=Place(1, starts_per_s=0.1)).hint == (
        "about 1 job of its kind is ahead of it; 6 start a minute, so it starts in about 20 s"
    )


def test_a_place_without_a_rate_promises_no_time() -> None:
    assert outlook_of(job(), place=Place(411)) == Outlook("about 411 jobs of its kind are ahead of it", 30)
    stuck = outlook_of(job(), place=Place(411, starts_per_s=0.0))
    assert stuck == Outlook("about 411 jobs of its kind are ahead of it; none of them has started lately", 30)


def test_a_place_that_was_not_counted_to_its_end_says_so() -> None:
    found = outlook_of(job(), place=Place(9000, is_more=True, starts_per_s=100.0))
    assert found == Outlook("more than 9,000 jobs of its kind are ahead of it; 6,000 start a minute", 91)
    assert outlook_of(job(), place=Place(0, is_more=True)).hint == (
        "queued since 2026-01-02T03:03:35.000Z; so many jobs wait that its place was not counted"
    )


def test_the_next_one_waits_for_a_slot() -> None:
    found = outlook_of(job(), place=Place(0, starts_per_s=0.5))
    assert found == Outlook("no job of its kind is ahead of it; a worker claims it as soon as it has a free slot", 2)


def test_a_tenant_is_told_its_own_time_and_nothing_of_others() -> None:
    found = outlook_of(job(), place=Place(411, starts_per_s=1.0), may_see_all=False)
    assert found == Outlook("it starts in about 6.9 min", 412)
    assert outlook_of(job(), place=Place(411), may_see_all=False).hint == "other jobs of its kind are ahead of it"
    more = outlook_of(job(), place=Place(411, is_more=True, starts_per_s=0.0), may_see_all=False)
    assert more.hint == "other jobs of its kind are ahead of it"


def test_a_delay_says_until_when() -> None:
    found = outlook_of(job(State.SCHEDULED, due_at=NOW + timedelta(seconds=90.2)))
    assert found == Outlook("delayed until 2026-01-02T03:05:35.200Z", 91)


def test_a_back_off_names_the_error_and_the_failures_left() -> None:
    waiting = job(
        State.SCHEDULED, Reason.BACKING_OFF, due_at=NOW + timedelta(seconds=8), failures=2, error={"type": "Timeout"}
    )
    found = outlook_of(waiting, max_attempts=5)
    assert found == Outlook("backing off until 2026-01-02T03:04:13.000Z after Timeout (failure 2 of 5)", 8)
    assert outlook_of(waiting).hint.endswith("after Timeout (failure 2)")


def test_a_back_off_after_a_crash_counts_crashes() -> None:
    waiting = job(State.SCHEDULED, Reason.CRASHED, due_at=NOW + timedelta(seconds=8), crashes=2)
    assert outlook_of(waiting).hint == (
        "backing off until 2026-01-02T03:04:13.000Z after it ended its process (crash 2 of 3)"
    )


def test_another_reason_to_be_scheduled_says_until_when() -> None:
    waiting = job(State.SCHEDULED, Reason.NOT_STARTED, due_at=NOW + timedelta(seconds=8))
    assert outlook_of(waiting).hint == "scheduled until 2026-01-02T03:04:13.000Z"


def test_what_is_due_already_is_queued_soon() -> None:
    found = outlook_of(job(State.SCHEDULED, due_at=ago(0.5)))
    assert found == Outlook("due since 2026-01-02T03:04:04.500Z; it is queued within a second or two", MIN_RETRY_S)


def running(**fields: Any) -> Job:
    given = {"owner": OWNER, "started_at": ago(12), "next_check_at": NOW + timedelta(seconds=17.5), **fields}
    return job(State.RUNNING, Reason.CLAIMED, **given)


def parked(waits: Waits | None) -> Job:
    history = (HistoryEntry(3, State.WAITING, Reason.PARKED, 1, ago(20)),)
    return job(State.WAITING, Reason.PARKED, waits=waits, history=history)


def test_a_parked_job_says_what_it_waits_for() -> None:
    sleep = Waits("sleep", "cool-off", NOW + timedelta(seconds=100))
    assert outlook_of(parked(sleep)) == Outlook(
        "waits for sleep at 'cool-off' until 2026-01-02T03:05:45.000Z; it holds no worker", 100
    )
    assert outlook_of(parked(Waits("wait", "paid", None, ("paid",)))) == Outlook(
        "waits for signal 'paid' since 2026-01-02T03:03:45.000Z; it holds no worker", 20
    )
    assert outlook_of(parked(None)).hint == "parked since 2026-01-02T03:03:45.000Z"


def test_a_wait_that_has_ended_is_queued_soon() -> None:
    found = outlook_of(parked(Waits("sleep", "cool-off", ago(1))))
    assert found.hint == "its wait at 'cool-off' ended at 2026-01-02T03:04:04.000Z; it is queued within seconds"
    assert found.retry_after_s == MIN_RETRY_S


def test_a_running_job_names_its_worker() -> None:
    assert outlook_of(running()) == Outlook("runs on worker-2 since 2026-01-02T03:03:53.000Z", 12)


def test_a_lost_worker_says_when_the_lease_ends() -> None:
    lost = "its worker worker-2 was lost; its lease ends at 2026-01-02T03:04:22.500Z, then it is "
    assert outlook_of(running(), has_live_owner=False) == Outlook(lost + "queued again", 18)
    assert outlook_of(running(cancel_requested=True), has_live_owner=False).hint == lost + "cancelled"


def test_a_requested_cancel_says_who_stops() -> None:
    assert outlook_of(running(cancel_requested=True)) == Outlook(
        "its cancel was requested; worker-2 stops its handler", 1
    )


@pytest.mark.parametrize(
    ("waits", "unread", "says"),
    [
        (
            Waits("wait", "paid", None, ("paid",)),
            ("payed",),
            "signal 'paid' since {}; it holds no worker; unread: 'payed'",
        ),
        (Waits("wait", "paid", None, ("paid",)), ("paid",), "signal 'paid' since {}; it holds no worker"),
        (
            Waits("first", "payment", None, ("late", "paid")),
            ("a", "b", "c", "d"),
            "signal 'late' or 'paid' at 'payment' since {}; it holds no worker; unread: 'a', 'b', 'c'",
        ),
        (
            Waits("first", "all", None, ("a", "b", "c", "d")),
            (),
            "signal 'a' or 'b' or 'c' and 1 more at 'all' since {}; it holds no worker",
        ),
        (Waits("first", "many", None, ("*",)), ("a",), "a signal at 'many' since {}; it holds no worker"),
    ],
)
def test_a_parked_job_names_signals_that_it_does_not_wait_for(waits: Waits, unread: tuple[str, ...], says: str) -> None:
    hint = outlook_of(parked(waits), unread=unread).hint
    assert hint == f"waits for {says.format('2026-01-02T03:03:45.000Z')}"


def test_a_job_that_has_ended_waits_for_nothing() -> None:
    assert outlook(job(State.SUCCEEDED, Reason.COMPLETED), Facts(now=NOW)) is None


SPAN_S = st.floats(-10.0, 10**8)
PLACES = st.none() | st.builds(
    Place, st.integers(0, 10_000), is_more=st.booleans(), starts_per_s=st.none() | st.floats(0.0, 10_000)
)


@given(
    st.sampled_from(sorted(LIVE)),
    st.sampled_from([*Reason, "word-of-a-newer-version"]),
    SPAN_S,
    PLACES,
    st.booleans(),
    st.booleans(),
)
def test_every_live_job_has_a_sentence_and_a_bounded_time(
    state: State, reason: str, span_s: float, place: Place | None, served: bool, sees: bool
) -> None:
    later = NOW + timedelta(seconds=span_s)
    instants = {"due_at": later, "next_check_at": later, "queued_at": ago(span_s), "started_at": ago(span_s)}
    found = outlook_of(
        job(state, reason, owner=OWNER, **instants),
        is_served=served,
        has_live_owner=served,
        place=place,
        may_see_all=sees,
    )
    assert MIN_RETRY_S <= found.retry_after_s <= MAX_RETRY_S
    assert found.hint and not found.hint.endswith(".") and "None" not in found.hint
    assert "\n" not in found.hint


@given(SPAN_S)
def test_a_guess_grows_with_what_was_waited_up_to_a_minute(span_s: float) -> None:
    found = outlook_of(running(started_at=ago(span_s)))
    assert abs(found.retry_after_s - min(MAX_GUESS_S, max(1.0, span_s))) <= 1
