"""Keeps what handlers print apart from the worker's own lines: 60 MB of prints must not push them out of a log.

A process has two ways out, and each gets one of them: standard output is what user code prints, on whichever of its two
streams, from Python, C or a child process; standard error, kept under another descriptor, is the worker's own log. The
supervisor writes each to files of its own. Nothing is read or copied in the worker, so printing costs others nothing,
and what a handler prints before it crashes arrives.

A container engine writes both to one log. There a program between (`output_pump`) passes on a bounded share.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

from acked_common.runtime.logs import set_up_logs
from acked_worker.settings import WorkerSettings

_FIRST_FD = 64
"""Above those that programs name by number."""
_PIPE_BYTES = 1 << 20
_PUMP = Path(__file__).with_name("output_pump.py")


def separate_output(bytes_per_s: int = 0) -> TextIO:
    """Make descriptor 2 a second descriptor 1, and return the stream of what it was. Programs do not inherit it.

    With `bytes_per_s` no more than that, beside a burst, passes on to what descriptor 1 was.
    """
    own = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    if bytes_per_s:
        _bound(bytes_per_s)
    os.dup2(1, 2)
    return os.fdopen(own, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def write_log_apart(settings: WorkerSettings, *, bytes_per_s: int = 0) -> TextIO:
    """Separate the output of handlers (see `separate_output`), and return the stream to which the log now goes.

    The worker and its fork server both start with this, before they import handlers.
    """
    own = separate_output(bytes_per_s)
    set_up_logs("acked-worker", settings.common.log_level, own=own)
    return own


def _bound(bytes_per_s: int) -> None:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        # More than this user may have.
        pass
    # A session of its own: a handler that signals its process group does not reach it.
    subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PUMP), str(bytes_per_s)], stdin=reading, start_new_session=True, cwd="/"
    )
    os.close(reading)
    os.dup2(writing, 1)
    os.close(writing)
