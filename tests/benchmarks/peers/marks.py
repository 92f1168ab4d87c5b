"""What handlers tell the benchmark: how many have run, and when one started. For ours and for the peers alike."""

import itertools
import mmap
import os
import socket
import struct
import threading
import time
from pathlib import Path

COUNTS = "BENCH_COUNTS"
"""Names the folder with a file for each process that counts."""
STARTS = "BENCH_STARTS"
"""Names the socket that is told each start."""
STEPS = 3
"""Steps of a job, where many such jobs are drained."""
CHAIN = 10
"""Steps of a job that is timed alone."""


class Marks:
    """Of one process; made with its first call, so that a copy of the process does not share it."""

    def __init__(self) -> None:
        self._pid = 0
        self._count = itertools.count(1)
        self._counted: mmap.mmap | None = None
        self._socket: socket.socket | None = None
        self._opening = threading.Lock()

    def ran(self) -> None:
        """One more no-op has run."""
        if self._counted is None or self._pid != os.getpid():
            # Some peers have several threads: a second one would empty the file under the first one's count.
            with self._opening:
                self._open_count()
        struct.pack_into("<q", self._counted, 0, next(self._count))

    def _open_count(self) -> None:
        if self._counted is not None and self._pid == os.getpid():
            return
        self._forget()
        file = Path(os.environ[COUNTS]) / str(self._pid)
        with file.open("w+b") as opened:
            opened.truncate(8)
            self._counted = mmap.mmap(opened.fileno(), 8)

    def started(self, number: int) -> None:
        """The handler of a job has started: by the clock that all processes of the machine share."""
        at = time.monotonic_ns()
        if self._socket is None or self._pid != os.getpid():
            self._forget()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.connect(os.environ[STARTS])
        self._socket.send(struct.pack("<qq", number, at))

    def _forget(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._counted, self._socket, self._count = os.getpid(), None, None, itertools.count(1)


MARKS = Marks()


def link(number: int) -> int:
    """What each step does, ours and the peers'."""
    return number


def work(kind: str, payload: dict) -> None:
    """What each handler does, ours and the peers': nothing, or telling that it has started."""
    if kind == "start":
        MARKS.started(payload["number"])
    else:
        MARKS.ran()
