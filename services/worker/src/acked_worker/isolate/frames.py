"""Messages between a worker, its fork server and the process of an isolated attempt. Pure.

Between worker and process: a stream of frames, each four bytes of length and msgpack. Between worker and fork server:
one message of msgpack each on a socket that preserves boundaries.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from acked.durable.port import InboxSignal, Kept, Opened, Write
from acked_common.outcomes.outcome import (
    Crashed,
    Ending,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    Succeeded,
    TimedOut,
)
from acked_worker.execute.attempt import Assignment

MAX_FRAME_BYTES = 4 << 20
"""Above the largest payload and the largest result, each 1 MiB at most."""
PAGE_BYTES = 1 << 20
"""The maximum size of one page of a reply: a ledger is larger than a frame may be."""
LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 4096


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Worker to process, the first frame: the assignment to run. `payload` is JSON text; the assignment has none."""

    assignment: Assignment
    payload: bytes
    lease_s: float
    renewal_s: float
    beat: "Beat"


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Worker to process: interrupt the handler."""

    reason: InterruptReason


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Worker to process: the worker's loop runs, and its newest proved renewal was sent at this instant.

    `at` is MongoDB's time at the instant `at_monotonic` of the monotonic clock, which both processes share.
    """

    proved_at: float
    at: datetime
    at_monotonic: float


class AskOpen(msgspec.Struct, frozen=True, tag="open"):
    """Open the ledger of the attempt. The reply is an `Opened`."""


class AskWrite(msgspec.Struct, frozen=True, tag="write"):
    """Keep an outcome. The reply is a `Kept`."""

    write: Write


class AskInbox(msgspec.Struct, frozen=True, tag="inbox"):
    """Read the unread signals. The reply is an `InboxReply`."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Process to worker: ledger work of a durable call, which the worker does. `number` is in the reply."""

    number: int
    work: AskOpen | AskWrite | AskInbox


class Told(msgspec.Struct, frozen=True, tag="told"):
    """Worker to process: one page of a reply. The pages of one reply come in order, perhaps between those of others."""

    number: int
    page: bytes
    is_last: bool


class SignalCame(msgspec.Struct, frozen=True, tag="signal-came"):
    """Worker to process: a signal may have come."""


class InboxReply(msgspec.Struct, frozen=True, tag="inbox"):
    """The unread signals, and the number of all."""

    signals: tuple[InboxSignal, ...]
    in_seq: int


class CallRefusal(msgspec.Struct, frozen=True, tag="refusal"):
    """The error of a durable call, by the name of its class."""

    error: str
    message: str


class OpenedReply(msgspec.Struct, frozen=True, tag="opened"):
    """The reply to `AskOpen`."""

    opened: Opened


class KeptReply(msgspec.Struct, frozen=True, tag="kept"):
    """The reply to `AskWrite`."""

    kept: Kept


Reply: TypeAlias = OpenedReply | KeptReply | InboxReply | CallRefusal


class Began(msgspec.Struct, frozen=True, tag="began"):
    """Process to worker: the handler starts now. An earlier end of the process is no fault of the job."""


class ProgressMade(msgspec.Struct, frozen=True, tag="progress"):
    """Process to worker."""

    value: Any


class EndedWell(msgspec.Struct, frozen=True, tag="ended-well"):
    """Process to worker, the last frame."""

    ending: Succeeded


class EndedBadly(msgspec.Struct, frozen=True, tag="ended-badly"):
    """Process to worker, the last frame."""

    ending: Failed


class EndedLate(msgspec.Struct, frozen=True, tag="ended-late"):
    """Process to worker, the last frame."""

    ending: TimedOut


class EndedParked(msgspec.Struct, frozen=True, tag="ended-parked"):
    """Process to worker, the last frame."""

    ending: Parked


class EndedEarly(msgspec.Struct, frozen=True, tag="ended-early"):
    """Process to worker, the last frame."""

    ending: Interrupted


Ended: TypeAlias = EndedWell | EndedBadly | EndedLate | EndedEarly | EndedParked
ToProcess: TypeAlias = Run | Stop | Beat | Told | SignalCame
ToWorker: TypeAlias = Began | ProgressMade | Ask | Ended


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Worker to fork server, with one end of a socket: start a process that runs the assignment on the socket."""

    number: int


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """Worker to fork server: end a process now."""

    number: int


class ForkServerReady(msgspec.Struct, frozen=True, tag="ready"):
    """Fork server to worker: the handlers are loaded. `copies`: each process is a copy of it, else a new program."""

    kinds: int
    copies: bool


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """Fork server to worker: a process has exited. `code` is an exit code, or minus the number of a signal."""

    number: int
    code: int


ToHost: TypeAlias = Start | Kill
FromHost: TypeAlias = ForkServerReady | Exited

encode = msgspec.msgpack.Encoder().encode
decode_to_process = msgspec.msgpack.Decoder[ToProcess](ToProcess).decode
decode_to_worker = msgspec.msgpack.Decoder[ToWorker](ToWorker).decode
decode_reply = msgspec.msgpack.Decoder[Reply](Reply).decode
decode_to_host = msgspec.msgpack.Decoder[ToHost](ToHost).decode
decode_from_host = msgspec.msgpack.Decoder[FromHost](FromHost).decode


def paged(number: int, reply: Reply) -> Iterator[Told]:
    """Return the pages of a reply, each shorter than a frame may be."""
    body = encode(reply)
    for begin in range(0, len(body), PAGE_BYTES):
        yield Told(number, body[begin : begin + PAGE_BYTES], begin + PAGE_BYTES >= len(body))


class BadFrame(ValueError):
    """Signal bytes that are no frame."""


def framed(frame: ToProcess | ToWorker) -> bytes:
    """Encode a frame with its length."""
    body = encode(frame)
    return len(body).to_bytes(LENGTH_BYTES) + body


def length_of(head: bytes) -> int:
    """Return the length of the frame after these bytes. Raise `BadFrame` if it is too long."""
    length = int.from_bytes(head)
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length} bytes")
    return length


def ended(ending: Ending) -> Ended:
    """Build the last frame of a process from an ending."""
    match ending:
        case Succeeded():
            return EndedWell(ending)
        case Failed():
            return EndedBadly(ending)
        case TimedOut():
            return EndedLate(ending)
        case Interrupted():
            return EndedEarly(ending)
        case Parked():
            return EndedParked(ending)
        case Crashed():
            raise ValueError("a process can't tell that it has ended")
