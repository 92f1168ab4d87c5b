"""The gateway's end of a channel connection, and the last `seq` of each worker stream. Pure."""

from collections import OrderedDict
from collections.abc import Sequence

from acked_common.channel import frames
from acked_common.channel.frames import (
    MAX_CANCELS,
    Ack,
    Cancel,
    CloseCode,
    Drain,
    Events,
    Hello,
    JobAttempt,
    Listen,
    ProtocolFault,
    Signalled,
    Welcome,
)

MAX_STREAMS = 10_000
"""Streams whose last `seq` is stored; beyond it the least recently used is evicted."""


class Streams:
    """The last `seq` of each stream that this gateway process has received."""

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self._most = most
        self._last: OrderedDict[tuple[str, int], int] = OrderedDict()

    def last_seq(self, boot: str, stream: int) -> int:
        """Return the last `seq`; 0 for an unknown stream."""
        return self._last.get((boot, stream), 0)

    def note(self, boot: str, stream: int, seq: int) -> None:
        """Record that a frame was delivered."""
        self._last[boot, stream] = seq
        self._last.move_to_end((boot, stream))
        while len(self._last) > self._most:
            self._last.popitem(last=False)


class GatewayEnd:
    """One connection's end. Feed it frames, deliver the reports it returns, then send the frame it returns."""

    def __init__(self, boot: str, streams: Streams, credential: str = "") -> None:
        """Take the gateway's `boot`. Streams are stored per credential, so one credential can't affect another's
        boot."""
        self._boot = boot
        self._credential = credential
        self._streams = streams
        self._seq = 0
        self._is_closed = False
        self.hello: Hello | None = None
        """The worker's `hello`; None before it."""

    def received(self, frame: Hello | Events) -> tuple[Events | None, str]:
        """Take a parsed frame; return the reports in it that are new, and the frame to send back.

        Raises `ProtocolFault`.
        """
        if self._is_closed:
            raise ProtocolFault(CloseCode.REPLACED, "a newer connection has taken over")
        if isinstance(frame, Hello):
            if self.hello is not None:
                raise ProtocolFault(CloseCode.OUT_OF_ORDER, "a second hello")
            self.hello = frame
            last_seq = self._streams.last_seq(self._whose(frame), frame.stream)
            return None, frames.encode(Welcome(frames.PROTOCOL, self._boot, last_seq))
        if self.hello is None:
            raise ProtocolFault(CloseCode.OUT_OF_ORDER, "the first frame must be hello")
        # A connection may start with a gap: another gateway acknowledged the missing frames.
        if self._seq and frame.seq != self._seq + 1:
            raise ProtocolFault(CloseCode.OUT_OF_ORDER, f"seq {frame.seq} follows {self._seq}")
        self._seq = frame.seq
        ack = frames.encode(Ack(frame.seq))
        if frame.seq <= self._streams.last_seq(self._whose(self.hello), self.hello.stream):
            return None, ack
        self._streams.note(self._whose(self.hello), self.hello.stream, frame.seq)
        return frame, ack

    def _whose(self, hello: Hello) -> str:
        return f"{self._credential}/{hello.boot}"

    def accepts(self, word: str) -> bool:
        """Return whether the worker takes a type of frames that workers of the first version do not know."""
        return self.hello is not None and word in self.hello.accepts

    def close(self) -> None:
        """Reject further frames: a newer connection has replaced this one."""
        self._is_closed = True


def cancel_frames(jobs: Sequence[JobAttempt]) -> list[str]:
    """Return the frames that cancel attempts."""
    return [
        frames.encode(Cancel(list(jobs[start : start + MAX_CANCELS]))) for start in range(0, len(jobs), MAX_CANCELS)
    ]


def signalled_frames(jobs: Sequence[JobAttempt]) -> list[str]:
    """Return the frames that end the waits of attempts, for workers that accept them."""
    return [
        frames.encode(Signalled(list(jobs[start : start + MAX_CANCELS]))) for start in range(0, len(jobs), MAX_CANCELS)
    ]


def drain_frame() -> str:
    """Return the frame that makes a worker drain and exit."""
    return frames.encode(Drain())


def listen_frame(*, on: bool) -> str:
    """Return the frame that switches a worker's reports on or off."""
    return frames.encode(Listen(on))
