"""Handle the signals that stop a worker, and detect those sent by its own handlers.

The main thread only waits for signals; the plumbing has its own thread. The kernel delivers a process-directed signal
to the main thread if that accepts it, as a thread in `sigwaitinfo` does. So:

- No signal handler runs and no descriptor wakes a loop: a forked child inherits nothing that it could write to.
- Handler threads block no signals. Every program that they start would inherit the mask and could not be terminated.
- The kernel reports the sender. A signal may come from a handler, or from a process below this one. The running jobs
  then run in isolation next time; otherwise the job that sent it would kill the next worker too.

A thread-directed signal (`signal.raise_signal`, `pthread_kill`) never reaches `sigwaitinfo` in the main thread. It runs
the Python handler that is installed here. Other processes do not send such signals by the usual means, so its sender is
this process.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from acked_common.runtime.lifetime import IDLE_SIGNALS, STOP_SIGNALS
from acked_common.runtime.logs import get_log

log = get_log(__name__)

STOP = frozenset(STOP_SIGNALS)
IDLE = frozenset(IDLE_SIGNALS)
"""Signals of a closed terminal and of log rotation, which are ignored. By default they would kill the worker."""
WAKE = signal.SIGURG
"""Wakes the main thread: no other process sends it, and its default action is to do nothing."""
LOOK_EVERY_S = 0.5
"""Upper bound of the delay of a thread-directed signal, in seconds."""
MOST_ANCESTORS = 100
_SI_KERNEL = 0x80


def end_on_stop_signals() -> None:
    """Exit at once on a stop signal during imports, even if the import never runs Python code again.

    No jobs are held then. As PID 1 of a container without an init, the process gets only signals that it catches: there
    the import must run a line of Python code for the handler to run.
    """
    for number in STOP:
        signal.signal(number, _end if os.getpid() == 1 else signal.SIG_DFL)
    for number in IDLE:
        signal.signal(number, _ignore)


class SignalWatch:
    """Wait for signals in the main thread, and call `on_stop` there with whether this process tree sent the signal."""

    def __init__(self, on_stop: Callable[[bool], None]) -> None:
        self._on_stop = on_stop
        self._ended = threading.Event()
        self._main = threading.get_ident()

    def prepare(self) -> None:
        """Block and catch the signals; call it in the main thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP | IDLE | {WAKE})
        for number in STOP:
            signal.signal(number, self._hear_in_a_thread)
        for number in IDLE:
            signal.signal(number, _ignore)

    def leave_to_main_thread(self) -> None:
        """Unblock the signals in the calling thread and the threads that it starts: programs inherit the mask."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP | IDLE | {WAKE})

    def wait(self) -> None:
        """Wait in the main thread until `end`."""
        threading.Thread(target=self._wake, name="acked-signals", daemon=True).start()
        while not self._ended.is_set():
            # No timeout: if a SIGSTOP outlasts it, CPython's sigtimedwait returns a siginfo that the kernel has not
            # filled, so it may name any signal.
            found = signal.sigwaitinfo(STOP | IDLE | {WAKE})
            if found.si_signo == WAKE or self._ended.is_set():
                continue
            name = signal.Signals(found.si_signo).name
            if found.si_signo in IDLE:
                log.info("signal ignored", signal=name)
                continue
            is_from_within = found.si_code != _SI_KERNEL and is_from_within_tree(found.si_pid)
            log.info("signal: the worker stops", signal=name, sender=found.si_pid, from_within=is_from_within)
            self._on_stop(is_from_within)

    def _wake(self) -> None:
        # The Python handler of a signal that another thread received runs once the main thread runs.
        while not self._ended.wait(LOOK_EVERY_S):
            signal.pthread_kill(self._main, WAKE)

    def end(self) -> None:
        """Let `wait` return; callable from any thread."""
        self._ended.set()
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _hear_in_a_thread(self, number: int, frame: FrameType | None) -> None:
        if not self._ended.is_set():
            log.warning(
                "a handler sent a signal to its own thread: the worker stops", signal=signal.Signals(number).name
            )
            self._on_stop(True)


def is_from_within_tree(sender: int) -> bool:
    """Whether the sender is this process or a descendant.

    A sender that has exited counts as one: its parent can't be read, and a handler's `kill` program has often exited,
    while a supervisor or an operator's shell usually lives.
    """
    # 0: the kernel, or a process outside the container.
    if sender == 0:
        return False
    own = os.getpid()
    pid = sender
    for _ in range(MOST_ANCESTORS):
        if pid == own:
            return True
        if pid <= 1:
            return False
        found = _parent_and_group(pid)
        if found is None:
            return True
        pid, group = found
        # The group identifies a descendant whose parent has exited, so that it was reparented.
        if group == own:
            return True
    return False


def _parent_and_group(pid: int) -> tuple[int, int] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may contain any characters.
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]), int(fields[2])


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing. SIG_IGN would be inherited by programs that a handler starts."""
