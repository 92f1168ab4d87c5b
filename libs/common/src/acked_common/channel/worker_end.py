"""The worker's end of a channel connection: reports that wait, the frame in flight, and received commands. Pure.

One `events` frame is in flight at a time. Reports that arrive meanwhile are collected and sent after the
acknowledgement. So a single event leaves at once, and many events share a frame. The frame in flight is retained until
it is acknowledged, across reconnects. The buffer is bounded: beyond it the oldest report is dropped and counted. While
no client listens, reports are discarded. The store is the source of truth.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from acked_common.channel import frames
from acked_common.channel.frames import Ack, Cancel, CloseCode, Drain, Hello, Listen, ProtocolFault, Signalled, Welcome
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State

MAX_WAITING_EVENTS = 10_000
MAX_WAITING_BYTES = 4 * 2**20
EVENT_BYTES = 320
"""Accounted size of one transition: an upper bound of its text."""

Command = Cancel | Drain | Signalled
REFUSED = frozenset({CloseCode.BAD_FRAME, CloseCode.UNKNOWN_TYPE, CloseCode.OUT_OF_ORDER})
"""Close codes after which the frame in flight is dropped, since it would be rejected again."""

_FRAME_OVERHEAD = 64


@dataclass(frozen=True, slots=True)
class _UnderWay:
    seq: int
    text: str
    reports: int


class WorkerEnd:
    """One connection's end. Feed it reports and frames, and send what `next_frame` returns."""

    def __init__(
        self,
        hello: Hello,
        *,
        max_waiting_events: int = MAX_WAITING_EVENTS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        max_frame_events: int = frames.MAX_EVENTS,
    ) -> None:
        self._hello = hello
        self._max_events = max_waiting_events
        self._max_bytes = max_waiting_bytes
        self._max_frame_events = max_frame_events
        self._events: deque[JobEvent] = deque()
        self._progress: dict[tuple[UUID, int], ProgressEvent] = {}
        self._progress_bytes = 0
        self._seq = 0
        self._under_way: _UnderWay | None = None
        self._is_sent = False
        self.gateway_boot: str | None = None
        """The gateway process that has welcomed this connection; None before."""
        self.is_heard = True
        """Whether a client listens; otherwise reports are discarded."""
        self.dropped = 0
        """Transitions and progress reports that were dropped before a gateway got them."""
        self.acknowledged = 0
        """Transitions and progress reports that a gateway has acknowledged."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and no frame is in flight."""
        return self._under_way is None and not self._events and not self._progress

    def report(self, events: Iterable[JobEvent]) -> None:
        """Buffer transitions, in order."""
        if not self.is_heard:
            return
        for event in events:
            self._events.append(event)
            if event.state is not State.RUNNING:
                # Progress is meaningless after the end of its attempt.
                self._forget_progress(event.id, event.attempt)
        self._bound()

    def progress(self, reports: Iterable[ProgressEvent]) -> None:
        """Buffer progress; the newest of an attempt replaces older ones."""
        if not self.is_heard:
            return
        for report in reports:
            if len(report.progress) > frames.MAX_PROGRESS_BYTES:
                self.dropped += 1
                continue
            self._forget_progress(report.id, report.attempt)
            self._progress[report.id, report.attempt] = report
            self._progress_bytes += len(report.progress) + EVENT_BYTES
        self._bound()

    def connected(self) -> str:
        """Start a connection and return its first frame."""
        self.disconnected()
        # A new gateway switches reports off if no client listens.
        self.is_heard = True
        return frames.encode(self._hello)

    def disconnected(self, code: int | None = None) -> None:
        """Note that the connection is closed, by the gateway with `code` if it sent one."""
        if code in REFUSED and self._under_way is not None and self._is_sent:
            self.dropped += self._under_way.reports
            self._under_way = None
        self.gateway_boot = None
        self._is_sent = False

    def received(self, text: str) -> Command | None:
        """Process a frame and return the command in it. Raise `ProtocolFault`."""
        frame = frames.parse_from_gateway(text)
        if isinstance(frame, Welcome):
            if self.gateway_boot is not None:
                raise ProtocolFault(CloseCode.OUT_OF_ORDER, "a second welcome")
            self._settle(frame.last_seq)
            self.gateway_boot = frame.boot
            return None
        if self.gateway_boot is None:
            raise ProtocolFault(CloseCode.OUT_OF_ORDER, "the first frame must be welcome")
        if isinstance(frame, Ack):
            self._settle(frame.seq)
            return None
        if isinstance(frame, Listen):
            self._listen(frame.on)
            return None
        return frame

    def next_frame(self) -> str | None:
        """Return the frame to send now; None while one is in flight or nothing waits."""
        if self.gateway_boot is None or self._is_sent:
            return None
        if self._under_way is None:
            self._under_way = self._frame()
        if self._under_way is None:
            return None
        self._is_sent = True
        return self._under_way.text

    def abandon(self) -> None:
        """Abandon the stream and drop the rest."""
        self.dropped += len(self._events) + len(self._progress)
        self.dropped += self._under_way.reports if self._under_way else 0
        self._forget_waiting()
        self._under_way = None

    def _listen(self, on: bool) -> None:
        self.is_heard = on
        if not on:
            # The frame in flight stays: it is acknowledged as usual.
            self._forget_waiting()

    def _forget_waiting(self) -> None:
        self._events.clear()
        self._progress.clear()
        self._progress_bytes = 0

    def _settle(self, seq: int) -> None:
        if seq > self._seq:
            raise ProtocolFault(CloseCode.OUT_OF_ORDER, f"seq {seq} was never sent; the last one is {self._seq}")
        if self._under_way is not None and seq >= self._under_way.seq:
            self.acknowledged += self._under_way.reports
            self._under_way = None
            self._is_sent = False

    def _frame(self) -> _UnderWay | None:
        room = frames.MAX_FRAME_BYTES - _FRAME_OVERHEAD
        events: list[bytes] = []
        while self._events and len(events) < self._max_frame_events:
            part = frames.event_part(self._events[0])
            if len(part) + 1 > room:
                break
            room -= len(part) + 1
            events.append(part)
            self._events.popleft()
        progress: list[bytes] = []
        # Progress must not overtake the transitions that wait ahead of it.
        while not self._events and self._progress and len(progress) < frames.MAX_PROGRESS:
            report = next(iter(self._progress.values()))
            part = frames.progress_part(report)
            if len(part) + 1 > room:
                break
            room -= len(part) + 1
            progress.append(part)
            self._forget_progress(report.id, report.attempt)
        if not events and not progress:
            return None
        self._seq += 1
        return _UnderWay(self._seq, frames.events_frame(self._seq, events, progress), len(events) + len(progress))

    def _forget_progress(self, job_id: UUID, attempt: int) -> None:
        known = self._progress.pop((job_id, attempt), None)
        if known is not None:
            self._progress_bytes -= len(known.progress) + EVENT_BYTES

    def _bound(self) -> None:
        while self._progress and self._progress_bytes + len(self._events) * EVENT_BYTES > self._max_bytes:
            oldest = next(iter(self._progress.values()))
            self._forget_progress(oldest.id, oldest.attempt)
            self.dropped += 1
        most = min(self._max_events, self._max_bytes // EVENT_BYTES)
        while len(self._events) > most:
            self._events.popleft()
            self.dropped += 1


def hello_of(*, boot: str, worker: str, kinds: Sequence[str], version: str, slots: int, stream: int = 0) -> Hello:
    """Build the first frame of a worker, truncated to the limits."""
    return Hello(
        protocol=frames.PROTOCOL,
        boot=boot,
        worker=worker[: frames.MAX_WORKER_NAME_CHARS],
        kinds=list(kinds)[: frames.MAX_KINDS],
        version=version[:64],
        slots=slots,
        stream=stream,
        accepts=[frames.SIGNALLED],
    )
