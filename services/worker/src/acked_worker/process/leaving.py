"""Ends the process of a worker, whatever user code has left behind in it."""

import atexit
import faulthandler
import os
import sys
import threading
from typing import NoReturn

from acked_common.runtime.logs import log_fd, say_now

HOOKS_WITHIN_S = 2.0
"""What handlers registered with `atexit` has so long; `multiprocessing` ends its children there."""


def end_process(code: int) -> NoReturn:
    """End now. Threads that are no daemons, pools and finalizers of user code are not waited for, `atexit` hooks for
    `HOOKS_WITHIN_S`. Python's own way out would join all of them without a limit."""
    # By a thread that needs no lock of the interpreter, should a hook keep that.
    try:
        faulthandler.dump_traceback_later(2 * HOOKS_WITHIN_S, exit=True, file=log_fd())
    except (OSError, ValueError, RuntimeError, AttributeError):
        # User code has closed the stream: the timer below is left.
        pass
    late = threading.Timer(HOOKS_WITHIN_S, _exit, [code])
    late.daemon = True
    late.start()
    try:
        atexit._run_exitfuncs()
    except BaseException as error:
        say_now(f'{{"event": "an atexit hook failed", "error": "{type(error).__name__}", "level": "warning"}}\n')
    _exit(code)


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: S112 - user code may have closed or replaced it
            continue
    os._exit(code)
