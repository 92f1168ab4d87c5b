"""The gateway's end of one connection of the channel, and what it remembers of each worker's stream. Pure."""

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
    Welcome,
)

MAX_STREAMS = 10_000
"""Streams whose last `seq` is remembered; the least recently used is forgotten first."""


class Streams:
    """The last `seq` of each stream that this gateway process has got."""

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self._most = most
        self._last: OrderedDict[tuple[str, int], int] = OrderedDict()

    def last_seq(self, boot: str, stream: int) -> int:
        """0 where nothing is known."""
        return self._last.get((boot, stream), 0)

    def note(self, boot: str, stream: int, seq: int) -> None:
        """A frame was handed out."""
        self._last[boot, stream] = seq
        self._last.move_to_end((boot, stream))
        while len(self._last) > self._most:
            self._last.popitem(last=False)


class GatewayEnd:
    """One connection's end. Feed it frames, hand out what it answers, then send what `reply` gives."""

    def __init__(self, boot: str, streams: Streams, credential: str = "") -> None:
        """`boot` is the gateway's own. What one credential says of a boot is nothing to another's."""
        self._boot = boot
        self._credential = credential
        self._streams = streams
        self._seq = 0
        self._is_closed = False
        self.hello: Hello | None = None
        """What the worker has said of itself; None before."""

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
        # The first frame of a connection may leave a gap: what is missing was acknowledged by another gateway.
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

    def close(self) -> None:
        """Takes nothing more: another connection has taken over."""
        self._is_closed = True


def cancel_frames(jobs: Sequence[JobAttempt]) -> list[str]:
    """The frames that stop attempts."""
    return [
        frames.encode(Cancel(list(jobs[start : start + MAX_CANCELS]))) for start in range(0, len(jobs), MAX_CANCELS)
    ]


def drain_frame() -> str:
    """The frame that makes a worker drain and end."""
    return frames.encode(Drain())


def listen_frame(*, on: bool) -> str:
    """The frame that tells a worker whether anybody follows what it reports."""
    return frames.encode(Listen(on))
