"""What a child process that user code forks must not inherit from its worker, and where such a child ends.

A handler may fork: `os.fork`, `multiprocessing`, `subprocess` with a `preexec_fn`. The child is a copy of the thread
that forked, with everything else that the process had: the signal handlers, the descriptor by which signals wake an
event loop (a byte that the child's C handler writes into it reaches the parent), the listener for probes, and the loop
of the worker below the handler's frames. So:

- Signals are blocked in the forking thread from before the fork until the child has the default handlers and no wake-up
  descriptor. A signal that is sent to the child at once waits for that, and then does what it does in any program.
- The child closes the descriptors that were registered in `acked_common.runtime.inheritance`.
- A child that leaves its handler, by return, exception or `sys.exit`, or gives up control to the event loop of its
  worker, ends there, with the exit code that it would have had in a program of its own.
"""

import os
import signal
import sys
import threading
import traceback
from typing import NoReturn

from acked_common.runtime import inheritance

RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 70

in_child = False
"""Whether this process is a child that user code has forked. Read at each step of a handler."""

_masks = threading.local()
_is_guarded = False


def guard_forks() -> None:
    """Install the hooks, once a process. The process of a suspect does so itself: the host that forks it has none."""
    global _is_guarded
    if not _is_guarded:
        _is_guarded = True
        os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals, after_in_child=_become_child)


def end_child(error: BaseException | None = None, *, gave_up_control: bool = False) -> NoReturn:
    """End a child that leaves its handler, as a program would end with this error."""
    code = 0
    try:
        if gave_up_control:
            code = EXIT_CODE
            sys.stderr.write(
                f"process {os.getpid()} was forked by an async handler and came back to the event loop, which belongs "
                "to the worker; it ends. Use subprocess, or fork in a plain def handler.\n"
            )
        elif isinstance(error, SystemExit):
            code = _exit_code_of(error)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 1
    os._exit(code)


def _exit_code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _hold_signals() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _let_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _become_child() -> None:
    global in_child
    in_child = True
    try:
        signal.set_wakeup_fd(-1)
        for number in RESET:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        for fd in inheritance.not_for_children:
            os.close(fd)
    except (OSError, ValueError):
        # A descriptor that user code has closed already.
        pass
    finally:
        _let_signals()
