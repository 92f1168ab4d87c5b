"""The lifecycle: what each transition demands, and what no sequence of them can break."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.model import interventions, lifecycle, lifecycle_waits, poison
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import (
    HISTORY_KEPT,
    LIVE,
    TERMINAL,
    UNOWNED,
    Move,
    Owner,
    Reason,
    Seen,
    State,
    Transition,
    WrongState,
)
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.poison import MAX_CRASHES
from acked_common.store.records import Applied, Job
from support.factories import ManualClock, new_job
from support.memory_store import MemoryStore

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUE = {"grace_s": 10.0, "expires_in_s": 3600.0}
KEEP = {"retention_s": 86400.0}
WAITS = Waits("wait", "paid", AT + timedelta(days=14), ("paid",))
HOW = "killed by SIGSEGV"
OTHER = new_id()
ERROR = {"type": "Boom", "message": "it broke", "retryable": True, "attempt": 1}

Maker = Callable[[datetime], Transition]
MAKERS: dict[str, Maker] = {
    "claim": lambda at: lifecycle.claim(at=at, owner=Owner("w", "b", f"n{at.timestamp()}"), lease_s=30.0),
    "succeed": lambda at: lifecycle.succeed(at=at, result=b"1", **KEEP),
    "fail": lambda at: lifecycle.fail(at=at, error=ERROR, exhausted=False, **KEEP),
    "exhaust": lambda at: lifecycle.fail(at=at, error=ERROR, exhausted=True, **KEEP),
    "back_off": lambda at: lifecycle.back_off(at=at, error=ERROR, delay_s=2.0),
    "release": lambda at: lifecycle.release(at=at, **QUEUE),
    "take_back": lambda at: lifecycle.take_back(at=at, **QUEUE),
    "crash": lambda at: poison.crash(at=at, how=HOW, crashes=0, attempt=1, delay_s=2.0, **KEEP),
    "poison": lambda at: poison.crash(at=at, how=HOW, crashes=MAX_CRASHES - 1, attempt=1, delay_s=2.0, **KEEP),
    "become_due": lambda at: lifecycle.become_due(at=at, **QUEUE),
    "expire": lambda at: lifecycle.expire(at=at, waited_s=5.0, kind="demo", attempt=0, **KEEP),
    "park": lambda at: lifecycle_waits.park(at=at, waits=WAITS),
    "wake": lambda at: lifecycle_waits.wake(at=at, **QUEUE),
    "signal": lambda at: lifecycle_waits.wake(at=at, reason=Reason.SIGNALLED, **QUEUE),
    "cancel": lambda at: interventions.cancel(at=at, **KEEP),
    "request_cancel": lambda at: interventions.request_cancel(at=at),
    "end_cancelled": lambda at: lifecycle.end_cancelled(at=at, **KEEP),
    "retry": lambda at: interventions.retry(at=at, **QUEUE),
    "resolve_succeeded": lambda at: interventions.resolve(at=at, to=State.SUCCEEDED, result=b"2", note="n", **KEEP),
    "resolve_failed": lambda at: interventions.resolve(at=at, to=State.FAILED, result=None, note=None, **KEEP),
    "run_now": lambda at: interventions.run_now(at=at, **QUEUE),
    "end_wait": lambda at: interventions.end_wait(at=at, **QUEUE),
    "edit_failed": lambda at: interventions.edit(at=at, state=State.FAILED, edited_to=OTHER, **KEEP),
    "edit_cancelled": lambda at: interventions.edit(at=at, state=State.CANCELLED, edited_to=OTHER, **KEEP),
    "erase_succeeded": lambda at: interventions.erase(at=at, state=State.SUCCEEDED),
    "erase_failed": lambda at: interventions.erase(at=at, state=State.FAILED),
}
NEW_RUN = {Reason.RETRIED, Reason.RESOLVED, Reason.EDITED}
CRASHES = {Reason.CRASHED, Reason.POISON}
CLEARS = {
    Reason.COMPLETED,
    Reason.PERMANENT_ERROR,
    Reason.ATTEMPTS_EXHAUSTED,
    Reason.BACKING_OFF,
    Reason.DRAINED,
    Reason.CANCELLED,
    Reason.PARKED,
}
T = TypeVar("T")


def now_done(coroutine: Coroutine[Any, Any, T]) -> T:
    """The answer of a verb of the store in memory, which never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    raise AssertionError("the store in memory waited")


def _store_with_a_job(delay_s: float) -> tuple[MemoryStore, ManualClock, Job]:
    clock = ManualClock()
    store = MemoryStore(clock)
    given_job = new_job(at=clock.now(), delay_s=delay_s)
    now_done(store.insert([given_job]))
    return store, clock, _read(store, given_job.id)


def _read(store: MemoryStore, job_id: Any) -> Job:
    job = now_done(store.get(job_id))
    assert job is not None
    return job


def _is_allowed(job: Job, transition: Transition) -> bool:
    return job.state in transition.leaves and not (transition.unless_cancelling and job.cancel_requested)


def _check(before: Job, after: Job, transition: Transition) -> None:
    """What holds of every applied move."""
    assert after.rev == before.rev + 1
    assert (after.next_check_at is None) is after.state.is_terminal
    assert (after.finished_at is None) is not after.state.is_terminal
    assert (after.owner is not None) is (after.state is State.RUNNING)
    assert (after.queued_at is not None) is (after.state is State.QUEUED)
    assert (after.due_at is not None) is (after.state is State.SCHEDULED)
    assert (after.waits is not None) is (after.state is State.WAITING)
    assert not after.cancel_requested or after.state is State.RUNNING
    assert after.attempt == before.attempt + (transition.reason is Reason.CLAIMED)
    assert after.run == before.run + (transition.reason in NEW_RUN)
    assert not before.state.is_terminal or transition.reason in NEW_RUN | {Reason.ERASED}
    if transition.reason in NEW_RUN - {Reason.EDITED}:
        assert (after.failures, after.crashes) == (0, 0)
    else:
        assert after.failures in (before.failures, before.failures + 1)
        assert after.crashes == before.crashes + (transition.reason in CRASHES)
    if transition.reason in CLEARS and before.state is State.RUNNING:
        assert not after.suspect
    elif transition.reason is Reason.LEASE_EXPIRED:
        assert after.suspect
    elif transition.reason is not Reason.RESOLVED:
        assert after.suspect == before.suspect
    entries = after.history
    assert entries[0] == before.history[0]
    assert (entries[-1].rev, entries[-1].state, entries[-1].reason) == (after.rev, after.state, after.reason)
    assert (entries[-1].attempt, entries[-1].at) == (after.attempt, transition.at)
    assert [entry.rev for entry in entries[1:]] == list(range(after.rev - len(entries) + 2, after.rev + 1))
    assert len(entries) == min(after.rev, 1 + HISTORY_KEPT)


def _chosen(job: Job, step: tuple[bool, int], at: datetime) -> Transition:
    """One transition: mostly one that the job allows, so that sequences get far."""
    any_of_all, number = step
    transitions = [make(at) for make in MAKERS.values()]
    allowed = [transition for transition in transitions if _is_allowed(job, transition)]
    choices = transitions if any_of_all or not allowed else allowed
    return choices[number % len(choices)]


# A draw of no length of its own would be a handful of steps most of the time.
steps = st.integers(0, 120).flatmap(
    lambda length: st.lists(
        st.tuples(st.sampled_from([False, False, False, True]), st.integers(0, 1000)), min_size=length, max_size=length
    )
)


@given(steps, st.sampled_from([0.0, 60.0]))
@settings(max_examples=75)
def test_no_sequence_of_transitions_breaks_a_job(chosen: list[tuple[bool, int]], delay_s: float) -> None:
    store, clock, job = _store_with_a_job(delay_s)
    ends_of_run: dict[int, int] = {}
    for step in chosen:
        clock.advance(1.0)
        transition = _chosen(job, step, clock.now())
        if job.state not in transition.leaves:
            with pytest.raises(WrongState):
                Move(job.seen, transition)
            continue
        move = Move(job.seen, transition)
        outcome = now_done(store.apply([move]))
        after = _read(store, job.id)
        if not _is_allowed(job, transition):
            assert (outcome, after) == ([Applied.STALE], job)
            continue
        assert outcome == [Applied.APPLIED]
        _check(job, after, transition)
        assert now_done(store.apply([move])) == [Applied.APPLIED]
        assert _read(store, job.id) == after
        if after.state.is_terminal and transition.reason is not Reason.ERASED:
            ends_of_run[after.run] = ends_of_run.get(after.run, 0) + 1
        job = after
    assert all(count == 1 for count in ends_of_run.values())
    assert set(ends_of_run) == set(range(1, job.run + job.state.is_terminal))


@given(steps)
@settings(max_examples=30)
def test_what_was_seen_before_a_move_is_stale_after_it(chosen: list[tuple[bool, int]]) -> None:
    store, clock, job = _store_with_a_job(0.0)
    outdated: list[Job] = []
    for step in chosen:
        clock.advance(1.0)
        transition = _chosen(job, step, clock.now())
        if not _is_allowed(job, transition):
            continue
        outdated.append(job)
        now_done(store.apply([Move(job.seen, transition)]))
        job = _read(store, job.id)
    clock.advance(1.0)
    moves = [
        Move(seen.seen, transition)
        for seen in outdated
        for transition in (make(clock.now()) for make in MAKERS.values())
        if seen.state in transition.leaves
    ]
    assert set(now_done(store.apply(moves))) <= {Applied.STALE}
    assert _read(store, job.id) == job


@given(steps)
@settings(max_examples=30)
def test_every_start_and_end_is_in_the_history(chosen: list[tuple[bool, int]]) -> None:
    store, clock, job = _store_with_a_job(0.0)
    for step in chosen[:40]:
        clock.advance(1.0)
        transition = _chosen(job, step, clock.now())
        if _is_allowed(job, transition):
            now_done(store.apply([Move(job.seen, transition)]))
            job = _read(store, job.id)

    starts = [entry for entry in job.history if entry.reason is Reason.CLAIMED]
    ends = [entry for entry in job.history if entry.state.is_terminal and entry.reason is not Reason.ERASED]

    assert [entry.attempt for entry in starts] == list(range(1, job.attempt + 1))
    assert len(ends) == job.run if job.state.is_terminal else len(ends) == job.run - 1
    assert [entry.at for entry in job.history] == sorted(entry.at for entry in job.history)


def test_states_are_live_or_terminal() -> None:
    assert set(State) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert LIVE - {State.RUNNING} == UNOWNED
    assert {state for state in State if state.is_terminal} == TERMINAL


def test_every_state_can_be_reached_and_every_live_one_left() -> None:
    transitions = [make(AT) for make in MAKERS.values()]
    assert {transition.to for transition in transitions} == set(State)
    assert {state for transition in transitions for state in transition.leaves} >= LIVE


def test_only_a_person_leaves_an_end() -> None:
    leaving = {name for name, make in MAKERS.items() if make(AT).leaves & TERMINAL}
    edits, erasures = {"edit_failed", "edit_cancelled"}, {"erase_succeeded", "erase_failed"}
    assert leaving == {"retry", "resolve_succeeded", "resolve_failed"} | edits | erasures
    assert {state for name in leaving - erasures for state in MAKERS[name](AT).leaves} == {
        State.FAILED,
        State.CANCELLED,
    }
    assert all(make(AT).leaves == {make(AT).to} for make in map(MAKERS.__getitem__, edits | erasures))


def test_the_cancel_flag_holds_back_all_but_success() -> None:
    held_back = {name for name, make in MAKERS.items() if make(AT).unless_cancelling}
    assert held_back == {"fail", "exhaust", "back_off", "release", "take_back", "crash", "poison", "park"}


class _Worker:
    """Does with a job what workers, the sweeper and fate may do; the number says what. Keeps what became of it."""

    def __init__(self) -> None:
        self.store, self.clock, self.job = _store_with_a_job(0.0)
        self.child_deaths = 0
        self.in_child = False

    def move(self, transition: Transition) -> None:
        assert now_done(self.store.apply([Move(self.job.seen, transition)])) == [Applied.APPLIED]
        self.job = _read(self.store, self.job.id)

    def act(self, number: int) -> None:
        self.clock.advance(1.0)
        at, job = self.clock.now(), self.job
        if job.state is State.SCHEDULED:
            self.move(MAKERS["become_due"](at))
        elif job.state is State.QUEUED:
            self.in_child = job.suspect
            self.move(MAKERS["claim"](at))
        elif number == 0 and self.in_child:
            self.child_deaths += 1
            self.move(poison.crash(at=at, how=HOW, crashes=job.crashes, attempt=job.attempt, delay_s=1.0, **KEEP))
        elif number <= 3:
            # The worker is killed, by this job or by anybody; by a job in its child, it never is.
            self.move(MAKERS["take_back"](at))
        else:
            self.move(lifecycle.release(at=at, reason=Reason.NOT_STARTED if number == 4 else Reason.DRAINED, **QUEUE))


@given(st.lists(st.integers(0, 5), min_size=60, max_size=120))
@settings(max_examples=75)
def test_nothing_but_three_deaths_of_a_process_of_its_own_makes_a_job_poison(numbers: list[int]) -> None:
    worker = _Worker()
    for number in numbers:
        if worker.job.state.is_terminal:
            break
        worker.act(number)
        assert worker.job.crashes == worker.child_deaths
        assert worker.job.failures == 0
    if worker.child_deaths == MAX_CRASHES:
        assert (worker.job.state, worker.job.reason) == (State.FAILED, Reason.POISON)
    else:
        assert not worker.job.state.is_terminal, "kills, drains and crashes that are fewer than three end nothing"


def test_a_retried_poison_runs_alone_again_and_has_three_crashes_again() -> None:
    worker = _Worker()
    for number in (0, 1, *[0] * 8):
        worker.act(number)
    assert (worker.job.state, worker.job.crashes) == (State.FAILED, 3)

    worker.move(MAKERS["retry"](worker.clock.now()))

    assert (worker.job.state, worker.job.crashes, worker.job.suspect) == (State.QUEUED, 0, True)


def test_a_waiting_job_can_be_cancelled() -> None:
    move = Move(Seen(new_id(), State.WAITING, 3, 1), MAKERS["cancel"](AT))
    assert (move.history_entry.state, move.history_entry.rev) == (State.CANCELLED, 4)


@pytest.mark.parametrize("name", MAKERS)
def test_a_transition_is_refused_from_every_other_state(name: str) -> None:
    transition = MAKERS[name](AT)
    for state in set(State) - transition.leaves:
        with pytest.raises(WrongState) as refused:
            Move(Seen(new_id(), state, 1, 0), transition)
        assert (refused.value.state, refused.value.reason) == (state, transition.reason)
        assert f"a job that is {state}" in str(refused.value)


def test_a_wrong_move_says_so_in_words() -> None:
    with pytest.raises(WrongState, match="a job that is running can't be backing off"):
        Move(Seen(new_id(), State.RUNNING, 1, 0), replace(MAKERS["back_off"](AT), leaves=frozenset({State.QUEUED})))


def test_a_transition_must_keep_the_wake_exactly_while_live() -> None:
    running = frozenset({State.RUNNING})
    with pytest.raises(ValueError, match="next_check_at"):
        Transition(Reason.DRAINED, running, State.QUEUED, AT)
    with pytest.raises(ValueError, match="next_check_at"):
        Transition(Reason.COMPLETED, running, State.SUCCEEDED, AT, sets={"next_check_at": AT})


def test_a_transition_can_not_be_changed() -> None:
    sets = {"next_check_at": AT}
    transition = Transition(Reason.DUE, frozenset({State.SCHEDULED}), State.QUEUED, AT, sets=sets)
    sets["next_check_at"] = AT + timedelta(days=1)
    with pytest.raises(TypeError):
        transition.sets["next_check_at"] = AT  # type: ignore[index]
    assert transition.sets["next_check_at"] == AT


def test_a_job_is_resolved_as_succeeded_or_failed_only() -> None:
    for state in set(State) - {State.SUCCEEDED, State.FAILED}:
        with pytest.raises(ValueError, match="succeeded or as failed"):
            interventions.resolve(at=AT, to=state, result=None, note=None, **KEEP)


@given(st.floats(-10, 1e6), st.floats(0, 1e6), st.floats(0.001, 1e7))
def test_a_new_job_is_queued_at_once_or_scheduled(delay_s: float, grace_s: float, expires_in_s: float) -> None:
    fields = lifecycle.accept_fields(at=AT, delay_s=delay_s, grace_s=grace_s, expires_in_s=expires_in_s)

    if delay_s > 0:
        assert fields["state"] is State.SCHEDULED
        assert fields["next_check_at"] == fields["due_at"] == AT + timedelta(seconds=delay_s)
        assert "expires_at" not in fields
    else:
        assert fields["state"] is State.QUEUED
        assert fields["expires_at"] == AT + timedelta(seconds=expires_in_s)
        assert fields["next_check_at"] == AT + timedelta(seconds=min(grace_s, expires_in_s))


def test_the_messages_to_a_person_say_what_to_do() -> None:
    crashed = poison.crash(at=AT, how=HOW, crashes=0, attempt=6, delay_s=1.0, **KEEP).sets["error"]
    ended = poison.crash(at=AT, how=HOW, crashes=2, attempt=7, delay_s=1.0, **KEEP).sets["error"]
    expired = lifecycle.expire(at=AT, waited_s=90.0, kind="mail", attempt=0, **KEEP).sets["error"]

    assert "(killed by SIGSEGV); crash 1 of 3" in crashed["message"]
    assert (crashed["type"], crashed["attempt"], crashed["retryable"]) == ("Crashed", 6, True)
    assert "3 times (the last time: killed by SIGSEGV)" in ended["message"]
    assert "correct the handler, then retry the job" in ended["message"]
    assert (ended["type"], ended["attempt"], ended["retryable"]) == ("Crashed", 7, False)
    assert "within 90 s" in expired["message"]
    assert "'mail'" in expired["message"]
    assert expired["type"] == "Expired"
