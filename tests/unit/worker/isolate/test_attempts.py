"""What becomes of isolated attempts, event by event, without a loop or a process."""

import signal
from math import inf

import msgspec
import pytest

from acked_common.outcomes.outcome import Crashed, Ending, Interrupted, InterruptReason, Succeeded, TimedOut
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S
from acked_worker.isolate.attempts import (
    BEGINS_WITHIN_S,
    EXIT_WITHIN_S,
    LATE_S,
    Effect,
    FreePlace,
    IsolatedAttempt,
    IsolatedAttempts,
    KillProcess,
    Settle,
    StopHandler,
)

TIMEOUT_S = 900.0
PATIENCE_S = TIMEOUT_S + GRACE_S + LATE_S
NOT_STARTED = Interrupted(InterruptReason.NOT_STARTED)
CANCELLED = Interrupted(InterruptReason.CANCELLED)
DONE = Succeeded(b"7")


def assignment(number: int) -> Assignment:
    return Assignment(str(number), "demo", 1, 1, 0, None, TIMEOUT_S)


def submitted(attempts: IsolatedAttempts, count: int = 1) -> list[IsolatedAttempt]:
    """So many, each of which has a place."""
    attempts.submit([assignment(n) for n in range(count)])
    return attempts.start_waiting()


def running(attempts: IsolatedAttempts) -> IsolatedAttempt:
    """One whose handler has begun at 0."""
    (one,) = submitted(attempts)
    assert attempts.connected(one, 0.0, begins_within_s=BEGINS_WITHIN_S) == []
    attempts.began(one, 0.0)
    return one


def endings(effects: list[Effect]) -> list[Ending]:
    return [effect.ending for effect in effects if isinstance(effect, Settle)]


def test_attempt_ends_once_and_frees_its_place_when_it_is_gone() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    assert attempts.ended(one, DONE, 5.0) == [Settle(one, DONE)]
    assert len(attempts) == 0
    attempts.submit([assignment(2)])
    # Its process may still hold what the next one needs.
    assert attempts.start_waiting() == []
    assert attempts.hung_up(one, 5.1) == []
    assert attempts.exited(one, -signal.SIGSEGV, 5.2) == [FreePlace(one)]
    assert len(attempts.start_waiting()) == 1


def test_attempts_above_the_places_wait_in_order() -> None:
    attempts = IsolatedAttempts(2)
    first, second = submitted(attempts, 5)
    assert (first.assignment.id, second.assignment.id) == ("0", "1")
    assert attempts.start_waiting() == []
    attempts.connected(second, 0.0, begins_within_s=inf)
    attempts.ended(second, DONE, 1.0)
    attempts.exited(second, 0, 1.0)
    assert [one.assignment.id for one in attempts.start_waiting()] == ["2"]


def test_waiting_attempts_are_given_back_without_a_host() -> None:
    attempts = IsolatedAttempts(1)
    (placed,) = submitted(attempts, 3)
    assert endings(attempts.give_back_waiting()) == [NOT_STARTED] * 2
    assert attempts.live == (placed,)


def test_waiting_attempts_of_a_paused_kind_are_given_back_and_others_wait_on() -> None:
    attempts = IsolatedAttempts(1)
    attempts.submit([assignment(0)])
    (first,) = attempts.start_waiting()
    paused = [msgspec.structs.replace(assignment(n), kind="paused") for n in (1, 3)]
    attempts.submit([paused[0], assignment(2), paused[1], assignment(4)])
    assert endings(attempts.give_back_waiting({"paused"})) == [NOT_STARTED, NOT_STARTED]
    assert [one.assignment.id for one in attempts.live] == ["0", "2", "4"]
    assert attempts.give_back_waiting({"paused"}) == []
    attempts.not_launched(first)
    assert [one.assignment.id for one in attempts.start_waiting()] == ["2"]


def test_attempt_without_a_host_at_its_launch_frees_its_place() -> None:
    attempts = IsolatedAttempts(1)
    (one,) = submitted(attempts)
    assert attempts.not_launched(one) == [Settle(one, NOT_STARTED)]
    assert len(submitted(attempts)) == 1


def test_process_that_does_not_begin_in_time_has_not_started() -> None:
    attempts = IsolatedAttempts(1)
    (one,) = submitted(attempts)
    attempts.connected(one, 10.0, begins_within_s=BEGINS_WITHIN_S)
    assert attempts.due_at == 10.0 + BEGINS_WITHIN_S
    assert attempts.due(attempts.due_at - 0.1) == []
    assert attempts.due(attempts.due_at) == [Settle(one, NOT_STARTED)]


def test_new_program_begins_without_a_limit() -> None:
    attempts = IsolatedAttempts(1)
    (one,) = submitted(attempts)
    attempts.connected(one, 10.0, begins_within_s=inf)
    assert attempts.due_at == inf


def test_handler_past_its_timeout_and_grace_is_timed_out() -> None:
    attempts = IsolatedAttempts(1)
    running(attempts)
    assert attempts.due_at == PATIENCE_S
    assert attempts.due(PATIENCE_S - 0.1) == []
    (late,) = endings(attempts.due(PATIENCE_S))
    assert isinstance(late, TimedOut)


@pytest.mark.parametrize("is_exit_first", [True, False])
@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (3, Crashed("exit code 3")),
        (-signal.SIGSEGV, Crashed("killed by SIGSEGV")),
        (-signal.SIGKILL, Crashed("killed by SIGKILL, as when memory runs out")),
        (-99, Crashed("killed by signal 99")),
        # Its host is gone, and took it along.
        (None, NOT_STARTED),
    ],
)
def test_death_after_the_begin_says_how(code: int | None, ending: Ending, is_exit_first: bool) -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    if is_exit_first:
        # It may have sent its ending before.
        assert attempts.exited(one, code, 1.0) == []
        effects = attempts.hung_up(one, 1.1)
    else:
        assert attempts.hung_up(one, 1.0) == []
        effects = attempts.exited(one, code, 1.1)
    assert [endings(effects), len(attempts)] == [[ending], 0]
    assert FreePlace(one) in effects


def test_exit_that_overtakes_the_ending_is_no_crash() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    attempts.exited(one, 0, 1.0)
    assert attempts.ended(one, DONE, 1.1) == [Settle(one, DONE), FreePlace(one)]


def test_death_before_the_begin_is_no_crash() -> None:
    attempts = IsolatedAttempts(1)
    (one,) = submitted(attempts)
    attempts.connected(one, 0.0, begins_within_s=inf)
    assert attempts.hung_up(one, 1.0) == [Settle(one, NOT_STARTED)]
    assert attempts.exited(one, -signal.SIGSEGV, 1.0) == [FreePlace(one)]


def test_failure_of_the_worker_itself_has_not_started() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    assert attempts.failed(one, 1.0) == [Settle(one, NOT_STARTED)]
    assert attempts.failed(one, 2.0) == []


def test_process_that_does_not_exit_is_killed_then_given_up() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    attempts.ended(one, DONE, 5.0)
    assert attempts.due(5.0 + EXIT_WITHIN_S) == [KillProcess(one)]
    assert attempts.due(5.0 + 2 * EXIT_WITHIN_S) == [FreePlace(one, lingers=True)]
    assert attempts.due_at == inf
    assert attempts.exited(one, 0, 99.0) == []


def test_process_that_hung_up_and_does_not_exit_has_not_started() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    attempts.hung_up(one, 0.0)
    assert attempts.due(EXIT_WITHIN_S) == [KillProcess(one)]
    assert attempts.due(2 * EXIT_WITHIN_S) == [Settle(one, NOT_STARTED)]
    assert attempts.due(3 * EXIT_WITHIN_S) == [KillProcess(one)]
    assert attempts.due(4 * EXIT_WITHIN_S) == [FreePlace(one, lingers=True)]


def test_interrupted_handler_is_stopped_then_killed() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    stopped = attempts.interrupt(("0", 1), InterruptReason.CANCELLED, 1.0)
    assert stopped == [StopHandler(one, InterruptReason.CANCELLED)]
    assert attempts.interrupt(("0", 1), InterruptReason.DRAINED, 1.5) == []
    assert attempts.due_at == 1.0 + GRACE_S + LATE_S
    assert attempts.due(attempts.due_at) == [KillProcess(one)]
    # Killed, it is no crash.
    assert attempts.hung_up(one, 9.0) == [Settle(one, CANCELLED)]


def test_interrupted_handler_that_ends_is_not_killed() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    attempts.interrupt(("0", 1), InterruptReason.CANCELLED, 1.0)
    attempts.ended(one, CANCELLED, 2.0)
    attempts.exited(one, 0, 2.0)
    assert attempts.due_at == inf


def test_interrupted_handler_that_dies_by_itself_is_a_crash() -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    attempts.interrupt(("0", 1), InterruptReason.CANCELLED, 1.0)
    attempts.hung_up(one, 2.0)
    assert endings(attempts.exited(one, 3, 2.0)) == [Crashed("exit code 3")]


@pytest.mark.parametrize("before", [None, InterruptReason.CANCELLED, InterruptReason.DRAINED])
def test_process_of_a_lost_lease_is_killed_at_once(before: InterruptReason | None) -> None:
    attempts = IsolatedAttempts(1)
    one = running(attempts)
    if before is not None:
        attempts.interrupt(("0", 1), before, 1.0)
    assert attempts.interrupt(("0", 1), InterruptReason.LEASE_LOST, 1.1) == [KillProcess(one)]
    assert endings(attempts.hung_up(one, 1.2)) == [Interrupted(before or InterruptReason.LEASE_LOST)]


@pytest.mark.parametrize(
    ("reasons", "effect"),
    [
        ([InterruptReason.CANCELLED], StopHandler),
        ([InterruptReason.LEASE_LOST], KillProcess),
        ([InterruptReason.CANCELLED, InterruptReason.LEASE_LOST], KillProcess),
    ],
)
def test_interrupt_during_the_launch_reaches_the_process(reasons: list[InterruptReason], effect: type) -> None:
    attempts = IsolatedAttempts(1)
    (one,) = submitted(attempts)
    for reason in reasons:
        assert attempts.interrupt(("0", 1), reason, 0.0) == []
    (found,) = attempts.connected(one, 0.1, begins_within_s=inf)
    assert isinstance(found, effect)


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        (InterruptReason.DRAINED, NOT_STARTED),
        (InterruptReason.CANCELLED, CANCELLED),
        (InterruptReason.LEASE_LOST, Interrupted(InterruptReason.LEASE_LOST)),
    ],
)
def test_interrupt_of_a_waiting_attempt_settles_it(reason: InterruptReason, ending: Ending) -> None:
    attempts = IsolatedAttempts(1)
    submitted(attempts, 2)
    assert endings(attempts.interrupt(("1", 1), reason, 0.0)) == [ending]
    assert attempts.start_waiting() == []


def test_interrupt_of_another_attempt_has_no_effect() -> None:
    attempts = IsolatedAttempts(1)
    running(attempts)
    assert attempts.interrupt(("0", 2), InterruptReason.LEASE_LOST, 0.0) == []


def test_close_returns_what_has_no_ending_and_ignores_the_rest() -> None:
    attempts = IsolatedAttempts(2)
    first, second = submitted(attempts, 3)
    attempts.connected(first, 0.0, begins_within_s=inf)
    attempts.ended(first, DONE, 0.0)
    assert [one.id for one in attempts.close()] == ["1", "2"]
    assert attempts.due_at == inf
    assert attempts.exited(first, 0, 1.0) == []
    assert attempts.connected(second, 1.0, begins_within_s=inf) == []
    assert attempts.hung_up(second, 1.0) == []
    assert attempts.failed(second, 1.0) == []
