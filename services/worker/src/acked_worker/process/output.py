"""Separate the output of handlers from the worker's log, so that 60 MB of prints can't rotate the log away.

Standard output carries what user code prints, on either stream, from Python, C or a child process. Standard error is
duplicated to another descriptor for the worker's own log. The supervisor writes each to its own files. The worker
neither reads nor copies the output, so printing costs nothing here, and output from just before a crash is preserved.

A container engine merges both into one log. There a separate program (`output_pump`) forwards a bounded share.
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
"""Lowest descriptor for the log, above those that programs refer to by number."""
_PIPE_BYTES = 1 << 20
_PUMP = Path(__file__).with_name("output_pump.py")


def separate_output(bytes_per_s: int = 0) -> TextIO:
    """Redirect descriptor 2 to descriptor 1, and return a stream on the original descriptor 2, closed on exec.

    With `bytes_per_s`, forward at most that much to the original descriptor 1, plus a burst.
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
        # Above the user's limit; the default size works too.
        pass
    # A session of its own: a handler that signals its process group does not reach it.
    subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PUMP), str(bytes_per_s)], stdin=reading, start_new_session=True, cwd="/"
    )
    os.close(reading)
    os.dup2(writing, 1)
    os.close(writing)
