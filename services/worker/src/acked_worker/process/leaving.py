"""End the process of a worker in bounded time, also if user code is still running in it."""

import atexit
import faulthandler
import os
import sys
import threading
from typing import NoReturn

from acked_common.runtime.logs import log_fd, say_now

HOOKS_WITHIN_S = 2.0
"""Time limit of `atexit` hooks; `multiprocessing` ends its children in one."""


def end_process(code: int) -> NoReturn:
    """Exit now. Do not wait for non-daemon threads, pools and finalizers of user code; run `atexit` hooks for up to
    `HOOKS_WITHIN_S`.

    The interpreter's own shutdown would join all of them without a limit.
    """
    # faulthandler's thread needs no interpreter lock, in case a hook holds it.
    try:
        faulthandler.dump_traceback_later(2 * HOOKS_WITHIN_S, exit=True, file=log_fd())
    except (OSError, ValueError, RuntimeError, AttributeError):
        # User code has closed the stream: the timer below remains.
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
