"""Run a recipe's program at a terminal: no encoding, closed pipe, full disk or Ctrl-C ends it with a traceback.

`python -m deploy.console <module> …` does so for any module.
"""

import errno
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

INTERRUPTED = 130
"""The exit code that shells use for a program that Ctrl-C ended."""
REPEATED_AFTER_S = 0.01


def run(name: str, main: Callable[[], int]) -> int:
    """Run `main` and return its exit code. Import inside `main`, so that an interrupted import prints one line too."""
    # Of the second Ctrl-C, which may come while the first one is handled.
    sys.excepthook = _quiet_when_interrupted
    sys.unraisablehook = _interrupt_again
    # Recipes start their program with SIGINT ignored, since Python itself could be interrupted while it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # A terminal that can't show a character gets its number.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        # Or blocked: `start_module`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe; drop the rest of the output.
        _drop(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        _drop(sys.stdout)
        print(f"{name}: {error.strerror}: the output, or a file, can't be written", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, RuntimeError) as error:
        # Python 3.11 turns what `__set_name__` of a class raises into a RuntimeError.
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        # While Python shuts down, too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def _quiet_when_interrupted(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat an interrupt that came within a callback, such as one of the import system, where Python drops it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # By then the callback has returned.
    repeat = threading.Timer(REPEATED_AFTER_S, os.kill, (os.getpid(), signal.SIGINT))
    repeat.daemon = True
    repeat.start()


def start_module(module: str, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Start `python -m module` under the console, in the same terminal. The module unblocks SIGINT by itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen([sys.executable, "-m", "deploy.console", module, *arguments], **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drop(stream: TextIO | None) -> None:
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run_module(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    del sys.argv[0]
    sys.exit(run(sys.argv[0], lambda: _run_module(sys.argv[0])))
