"""Forward the output of handlers at a bounded rate to a shared log: `python -I -S output_pump.py BYTES_PER_S`.

A separate program that uses only the standard library. It lives while any process holds the other end of its input, so
output from just before a crash arrives. It always reads, and drops output above the rate and output that would block:
printing never waits for a log.
"""

import os
import select
import signal
import sys
import time

BURST_BYTES = 1 << 20
PIECE_BYTES = 4096
"""A writable pipe accepts this much without blocking (PIPE_BUF)."""
SAID_EVERY_S = 5.0


class Allowance:
    """A token bucket of bytes."""

    def __init__(self, bytes_per_s: float, now: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._left = float(BURST_BYTES)
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Whether `count` bytes may pass now; takes them."""
        self._left = min(float(BURST_BYTES), self._left + (now - self._at) * self._bytes_per_s)
        self._at = now
        if count > self._left:
            return False
        self._left -= count
        return True


def notice(left_out: int) -> bytes:
    """Return the log line that reports dropped output."""
    return b'\n{"event": "output of handlers was left out", "bytes": %d, "level": "warning"}\n' % left_out


def main(bytes_per_s: float) -> None:
    """Run until the end of the input."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    allowance = Allowance(bytes_per_s, time.monotonic())
    left_out, said_at = 0, 0.0
    ended = False
    while not ended:
        if select.select([0], [], [], SAID_EVERY_S)[0]:
            data = os.read(0, PIECE_BYTES)
            ended = not data
            if data and not (_is_writable() and allowance.take(len(data), time.monotonic()) and _write(data)):
                left_out += len(data)
        now = time.monotonic()
        if left_out and (ended or now - said_at >= SAID_EVERY_S) and _is_writable() and _write(notice(left_out)):
            left_out, said_at = 0, now


def _is_writable() -> bool:
    return bool(select.select([], [1], [], 0)[1])


def _write(data: bytes) -> bool:
    try:
        os.write(1, data)
    except OSError:
        # The log has no reader. Keep reading the input, so that writers do not get SIGPIPE.
        return False
    return True


if __name__ == "__main__":
    main(float(sys.argv[1]))
