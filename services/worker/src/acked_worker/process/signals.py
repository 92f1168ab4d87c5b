"""Which signals end a worker, and whether they come from outside or from what its own handlers started.

The main thread waits for signals and does nothing else; the plumbing has a thread of its own. The kernel gives a signal
to a process to its main thread where that takes it, and a thread in `sigwaitinfo` does. So:

- No signal handler runs and no descriptor wakes a loop: a forked child inherits nothing that it could write to.
- The threads of handlers block nothing. A mask is inherited by every program that they start, which could then not be
  terminated.
- The kernel names the sender. A signal that a handler, or a process below this one, has sent makes suspects of the jobs
  that run: without that, the job that sent it would take the next worker too.

A signal for one thread alone (`signal.raise_signal`, `pthread_kill`) never reaches the main thread's wait: it runs the
Python handler that is installed here. Nobody outside can send such a one by the usual means, so it comes from within.
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
"""What a closed terminal and log rotation send: without effect here. By default they would end the worker at once."""
WAKE = signal.SIGURG
"""No other process sends it, and by default it does nothing."""
LOOK_EVERY_S = 0.5
"""How late a signal to a single thread is seen, at most."""
MOST_ANCESTORS = 100
_SI_KERNEL = 0x80


def end_on_stop_signals() -> None:
    """While handlers are imported nothing is held: a signal to stop ends the process at once, whatever the import does,
    also where it never runs a line of Python again.

    The kernel gives the first process of a container without an init nothing that it does not catch: there the import
    must run a line of Python."""
    for number in STOP:
        signal.signal(number, _end if os.getpid() == 1 else signal.SIG_DFL)
    for number in IDLE:
        signal.signal(number, _ignore)


class SignalWatch:
    """Waits in the main thread; `on_stop` is called there, with whether the signal came from within."""

    def __init__(self, on_stop: Callable[[bool], None]) -> None:
        self._on_stop = on_stop
        self._ended = threading.Event()
        self._main = threading.get_ident()

    def prepare(self) -> None:
        """Take the signals over, in the main thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP | IDLE | {WAKE})
        for number in STOP:
            signal.signal(number, self._hear_in_a_thread)
        for number in IDLE:
            signal.signal(number, _ignore)

    def leave_to_main_thread(self) -> None:
        """Give the calling thread, and those that it starts, an empty mask: their programs inherit it."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP | IDLE | {WAKE})

    def wait(self) -> None:
        """Return after `end`; in the main thread."""
        threading.Thread(target=self._wake, name="acked-signals", daemon=True).start()
        while not self._ended.is_set():
            # Without a timeout: where a SIGSTOP outlasts one, CPython's sigtimedwait returns a siginfo that the kernel
            # has not filled, which may name any signal.
            found = signal.sigwaitinfo(STOP | IDLE | {WAKE})
            if found.si_signo == WAKE or self._ended.is_set():
                continue
            name = signal.Signals(found.si_signo).name
            if found.si_signo in IDLE:
                log.info("signal without effect here", signal=name)
                continue
            is_from_within = found.si_code != _SI_KERNEL and is_from_within_tree(found.si_pid)
            log.info("signal: the worker stops", signal=name, sender=found.si_pid, from_within=is_from_within)
            self._on_stop(is_from_within)

    def _wake(self) -> None:
        # The handler of a signal that another thread has got runs when the main thread runs.
        while not self._ended.wait(LOOK_EVERY_S):
            signal.pthread_kill(self._main, WAKE)

    def end(self) -> None:
        """Let `wait` return; from any thread."""
        self._ended.set()
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _hear_in_a_thread(self, number: int, frame: FrameType | None) -> None:
        if not self._ended.is_set():
            log.warning(
                "a handler sent a signal to its own thread: the worker stops", signal=signal.Signals(number).name
            )
            self._on_stop(True)


def is_from_within_tree(sender: int) -> bool:
    """Whether a sender is this process or below it. One that is gone counts as such: its parent can't be read any more,
    and a handler's `kill` program has often ended; who stops a worker from outside usually lives."""
    # 0: the kernel, or a process outside of the container.
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
        # Also one whose parent has ended, so that it has another one now.
        if group == own:
            return True
    return False


def _parent_and_group(pid: int) -> tuple[int, int] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold anything.
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]), int(fields[2])


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Caught, not ignored: programs that a handler starts would inherit that."""
