"""Decide when isolated attempts wait, start, are stopped, killed or late, and how each ended. Pure.

The runner reports events with the time of its loop, performs the effects that it gets back, and calls `due` at
`due_at`. An attempt passes these phases, in order, and may skip some:

    WAITING      for a place
    LAUNCHING    it has a place; a process was requested from the fork server
    STARTING     the process has its assignment
    RUNNING      the handler has begun: from now on the death of the process is a crash
    DYING        the process hung up without an ending; how it exits decides the ending
    LEAVING      the attempt has its ending; its place is free when the process is gone
    GONE
"""

import signal
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import TypeAlias

from acked_common.outcomes.outcome import Crashed, Ending, Interrupted, InterruptReason, timed_out
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S

BEGINS_WITHIN_S = 60.0
"""A copy of the host. A new program first imports the handlers, which has no limit."""
LATE_S = 3.0
"""Beside the grace: how long after its time a process may still report how its handler ended."""
EXIT_WITHIN_S = 3.0


class Phase(Enum):
    """Where an attempt stands; see the module."""

    WAITING = auto()
    LAUNCHING = auto()
    STARTING = auto()
    RUNNING = auto()
    DYING = auto()
    LEAVING = auto()
    GONE = auto()


class IsolatedAttempt:
    """One attempt that runs alone, from its submission until its process has exited."""

    __slots__ = (
        "assignment",
        "deadline",
        "exit_code",
        "has_exited",
        "interrupted",
        "is_killed",
        "is_overdue",
        "kill_at",
        "phase",
    )

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.phase = Phase.WAITING
        self.interrupted: InterruptReason | None = None
        """The first reason; later ones change nothing but how fast it ends."""
        self.is_killed = False
        """Because of an interrupt: its death is no crash."""
        self.kill_at = inf
        """When an interrupt that had no effect is enforced."""
        self.deadline = inf
        """When its phase has taken too long."""
        self.is_overdue = False
        """The process was killed because it did not exit by itself."""
        self.has_exited = False
        self.exit_code: int | None = None
        """None also where the process was lost with its host."""


@dataclass(frozen=True, slots=True)
class StopHandler:
    """Ask the process to interrupt its handler."""

    attempt: IsolatedAttempt
    reason: InterruptReason


@dataclass(frozen=True, slots=True)
class KillProcess:
    """End the process now."""

    attempt: IsolatedAttempt


@dataclass(frozen=True, slots=True)
class Settle:
    """Report the only ending of the attempt; read nothing more from its process."""

    attempt: IsolatedAttempt
    ending: Ending


@dataclass(frozen=True, slots=True)
class FreePlace:
    """Launch a waiting attempt instead. `lingers`: the process did not exit even when it was killed."""

    attempt: IsolatedAttempt
    lingers: bool = False


Effect: TypeAlias = StopHandler | KillProcess | Settle | FreePlace


class IsolatedAttempts:
    """All isolated attempts of one worker. Instants are those of one monotonic clock, in seconds."""

    def __init__(self, most: int) -> None:
        """Take the limit of processes at once."""
        self._most = most
        self._live: dict[tuple[str, int], IsolatedAttempt] = {}
        self._waiting: deque[IsolatedAttempt] = deque()
        self._placed: dict[IsolatedAttempt, None] = {}
        """Those that hold a place, in order."""

    def __len__(self) -> int:
        """Return the number of attempts without an ending."""
        return len(self._live)

    @property
    def live(self) -> Sequence[IsolatedAttempt]:
        """The attempts without an ending."""
        return tuple(self._live.values())

    @property
    def due_at(self) -> float:
        """The instant of the next deadline, for `due`; infinite if there is none."""
        return min((min(one.deadline, one.kill_at) for one in self._placed), default=inf)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Queue assignments; `start_waiting` starts them."""
        for assignment in assignments:
            one = IsolatedAttempt(assignment)
            self._live[assignment.id, assignment.attempt] = one
            self._waiting.append(one)

    def start_waiting(self) -> list[IsolatedAttempt]:
        """Take a place for as many as may start now: launch a process for each. A fork server must be ready."""
        started = []
        while self._waiting and len(self._placed) < self._most:
            one = self._waiting.popleft()
            one.phase = Phase.LAUNCHING
            self._placed[one] = None
            started.append(one)
        return started

    def give_back_waiting(self, kinds: Collection[str] | None = None) -> list[Effect]:
        """Settle waiting attempts as not started: all of them without a fork server, or those of paused `kinds`."""
        back = [one for one in self._waiting if kinds is None or one.assignment.kind in kinds]
        for one in back:
            self._waiting.remove(one)
        return [self._settle(one, _not_begun(one)) for one in back]

    def interrupt(self, key: tuple[str, int], reason: InterruptReason, now: float) -> list[Effect]:
        """Stop an attempt. One whose job may have another owner is killed at once; others get their grace."""
        one = self._live.get(key)
        if one is None:
            return []
        if one.interrupted is not None:
            return self._kill(one) if reason is InterruptReason.LEASE_LOST else []
        one.interrupted = reason
        if one.phase is Phase.WAITING:
            self._waiting.remove(one)
            return [self._settle(one, _not_begun(one))]
        return self._stop(one, reason, now)

    def not_launched(self, one: IsolatedAttempt) -> list[Effect]:
        """Record that there was no fork server to launch its process."""
        if one.phase is not Phase.LAUNCHING:
            return []
        # Its place is free, and there is nothing to launch with: the next host starts what waits.
        self._free(one)
        return [self._settle(one, _not_begun(one))]

    def connected(self, one: IsolatedAttempt, now: float, *, begins_within_s: float) -> list[Effect]:
        """Record that the process was sent its assignment."""
        if one.phase is not Phase.LAUNCHING:
            return []
        one.phase = Phase.STARTING
        one.deadline = now + begins_within_s
        if one.is_killed:
            return [KillProcess(one)]
        return [] if one.interrupted is None else self._stop(one, one.interrupted, now)

    def began(self, one: IsolatedAttempt, now: float) -> None:
        """Record that its handler starts now."""
        if one.phase is Phase.STARTING:
            one.phase = Phase.RUNNING
            one.deadline = now + one.assignment.timeout_s + GRACE_S + LATE_S

    def ended(self, one: IsolatedAttempt, ending: Ending, now: float) -> list[Effect]:
        """Record the ending that the process reports."""
        if one.phase not in (Phase.STARTING, Phase.RUNNING):
            return []
        return self._leave(one, ending, now)

    def hung_up(self, one: IsolatedAttempt, now: float) -> list[Effect]:
        """Record that the process closed its socket without reporting an ending."""
        if one.phase in (Phase.LAUNCHING, Phase.STARTING):
            return self._leave(one, _not_begun(one), now)
        if one.phase is not Phase.RUNNING:
            return []
        if one.interrupted is not None and one.is_killed:
            return self._leave(one, Interrupted(one.interrupted), now)
        if one.has_exited:
            return self._leave(one, _after_exit(one), now)
        one.phase = Phase.DYING
        one.deadline = now + EXIT_WITHIN_S
        return []

    def failed(self, one: IsolatedAttempt, now: float) -> list[Effect]:
        """Record that the worker itself could not run it, which proves nothing about the job."""
        if one.phase in (Phase.WAITING, Phase.LEAVING, Phase.GONE):
            return []
        return self._leave(one, _not_begun(one), now)

    def exited(self, one: IsolatedAttempt, code: int | None, now: float) -> list[Effect]:
        """Record the exit; `code` as of `Exited`, None if the fork server exited too. Sent frames are still read."""
        one.has_exited, one.exit_code = True, code
        if one.phase is Phase.DYING:
            return self._leave(one, _after_exit(one), now)
        return [self._free(one)] if one.phase is Phase.LEAVING else []

    def due(self, now: float) -> list[Effect]:
        """Apply the deadlines that have passed."""
        effects: list[Effect] = []
        for one in list(self._placed):
            if one.kill_at <= now:
                one.kill_at = inf
                effects += self._kill(one)
            if one.deadline <= now:
                effects += self._too_late(one, now)
        return effects

    def close(self) -> list[Assignment]:
        """Forget all attempts; return those without an ending. Later events have no effect."""
        left = [one.assignment for one in self._live.values()]
        for one in (*self._live.values(), *self._placed):
            one.phase = Phase.GONE
        self._live.clear()
        self._waiting.clear()
        self._placed.clear()
        return left

    def _stop(self, one: IsolatedAttempt, reason: InterruptReason, now: float) -> list[Effect]:
        if reason is InterruptReason.LEASE_LOST:
            return self._kill(one)
        one.kill_at = min(one.kill_at, now + GRACE_S + LATE_S)
        # A launching process gets its interrupt right after its assignment.
        return [] if one.phase is Phase.LAUNCHING else [StopHandler(one, reason)]

    def _kill(self, one: IsolatedAttempt) -> list[Effect]:
        one.is_killed = True
        return [] if one.phase is Phase.LAUNCHING else [KillProcess(one)]

    def _too_late(self, one: IsolatedAttempt, now: float) -> list[Effect]:
        if one.phase is Phase.STARTING:
            return self._leave(one, _not_begun(one), now)
        if one.phase is Phase.RUNNING:
            late = timed_out(one.assignment.timeout_s, None)
            return self._leave(one, Interrupted(one.interrupted) if one.interrupted else late, now)
        if not one.is_overdue:
            one.is_overdue = True
            one.deadline = now + EXIT_WITHIN_S
            return [KillProcess(one)]
        if one.phase is Phase.DYING:
            return self._leave(one, _not_begun(one), now)
        return [self._free(one, lingers=True)]

    def _leave(self, one: IsolatedAttempt, ending: Ending, now: float) -> list[Effect]:
        settled = self._settle(one, ending)
        if one.has_exited:
            return [settled, self._free(one)]
        one.phase = Phase.LEAVING
        one.deadline, one.is_overdue = now + EXIT_WITHIN_S, False
        return [settled]

    def _settle(self, one: IsolatedAttempt, ending: Ending) -> Effect:
        one.kill_at = inf
        del self._live[one.assignment.id, one.assignment.attempt]
        return Settle(one, ending)

    def _free(self, one: IsolatedAttempt, *, lingers: bool = False) -> Effect:
        one.phase = Phase.GONE
        del self._placed[one]
        return FreePlace(one, lingers)


def _not_begun(one: IsolatedAttempt) -> Interrupted:
    """Return the ending of an attempt that proves nothing about the job, which stays marked for isolation."""
    if one.interrupted is None or one.interrupted is InterruptReason.DRAINED:
        return Interrupted(InterruptReason.NOT_STARTED)
    return Interrupted(one.interrupted)


def _after_exit(one: IsolatedAttempt) -> Ending:
    """Return the ending of a handler whose process died; with its fork server, it proves nothing about the job."""
    return _not_begun(one) if one.exit_code is None else Crashed(_how(one.exit_code))


def _how(code: int) -> str:
    """Describe for operators how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")
