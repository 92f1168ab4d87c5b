"""Hears when handlers start: each tells the number of its job and the instant, by the machine's monotonic clock."""

import socket
import struct
import threading
from pathlib import Path

_FRAME = struct.Struct("<qq")
_BUFFER_BYTES = 8 * 2**20


class Starts:
    """The socket that handlers tell; a context manager."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(str(path))
        self._heard: dict[int, int] = {}
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="starts", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Starts":
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread, which may be in the middle of a read.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join(5)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def of(self, number: int, within_s: float) -> int | None:
        """When the handler of this job started, in nanoseconds; None where it does not in time."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._heard, within_s)
            return self._heard.get(number)

    def _listen(self) -> None:
        while data := self._socket.recv(64):
            number, at_ns = _FRAME.unpack(data)
            with self._changed:
                # A job may start twice: the first one counts.
                self._heard.setdefault(number, at_ns)
                self._changed.notify_all()
