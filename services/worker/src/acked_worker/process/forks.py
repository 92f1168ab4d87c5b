"""Isolate child processes that user code forks from their worker.

A handler may fork: `os.fork`, `multiprocessing`, `subprocess` with a `preexec_fn`. The child is a copy of the forking
thread and of the whole process state. That includes the signal handlers, the listener for probes, and the worker's loop
below the handler's frames. It also includes the wake-up descriptor of the event loop: a byte that the child's C handler
writes there reaches the parent. So:

- Signals are blocked in the forking thread from before the fork until the child has default handlers and no wake-up
  descriptor. A signal sent to the child at once is delivered after that, with its default effect.
- The child closes the descriptors registered in `acked_common.runtime.inheritance`.
- A child exits when it leaves its handler, by return, exception or `sys.exit`, and when it yields to the worker's event
  loop. Its exit code is that of an ordinary program.
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
"""Whether this process is a child that user code has forked; checked at each step of a handler."""

_masks = threading.local()
_is_guarded = False


def guard_forks() -> None:
    """Install the fork hooks, once per process. An isolated process does so itself: its fork server has none."""
    global _is_guarded
    if not _is_guarded:
        _is_guarded = True
        os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals, after_in_child=_become_child)


def end_child(error: BaseException | None = None, *, gave_up_control: bool = False) -> NoReturn:
    """Exit a child that leaves its handler, with the exit code of a program that ends with this error."""
    code = 0
    try:
        if gave_up_control:
            code = EXIT_CODE
            sys.stderr.write(
                f"process {os.getpid()} was forked by an async handler and returned to the event loop, which belongs "
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
        # User code has already closed a descriptor.
        pass
    finally:
        _let_signals()
