"""OWNER of the worker channel's frames: their format, limits and close codes. Pure.

Frames are JSON texts with a `type`; docs/protocol.md defines each. An unreadable frame is a `ProtocolFault`.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from acked_common.model import strict_json
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State
from acked_common.model.strict_json import StrictJsonError

PROTOCOL = 1
PATH = "/ws/worker"
MAX_FRAME_BYTES = 192 * 1024
"""Limit of one frame; the server itself rejects more than 256 KiB."""
MAX_EVENTS = 500
MAX_PROGRESS = 200
MAX_PROGRESS_BYTES = 32 * 1024
"""Limit of one progress report as JSON text."""
MAX_CANCELS = 500
MAX_KINDS = 1000
MAX_ACCEPTS = 32
MAX_REASON_BYTES = 120
"""Limit of the text in a close frame, which has room for 123 bytes."""
MAX_WORKER_NAME_CHARS = 200


class CloseCode(IntEnum):
    """Why a connection of the channel was closed."""

    GOING_AWAY = 1001
    RESTART = 1012
    BAD_FRAME = 4000
    UNKNOWN_TYPE = 4001
    UNKNOWN_PROTOCOL = 4002
    OUT_OF_ORDER = 4003
    REPLACED = 4004
    TOO_SLOW = 4005
    HELLO_TIMEOUT = 4006


class ProtocolFault(Exception):
    """Signal that the peer broke the protocol: the connection is closed with `code` and `reason`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(f"{code.value} {reason}")
        self.code = code
        self.reason = close_reason(reason)


def close_reason(text: str) -> str:
    """Truncate a text to fit into a close frame."""
    return text.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Positive = Annotated[int, Meta(ge=1, le=2**53)]
_Word = Annotated[str, Meta(min_length=1, max_length=64)]
_Instant = Annotated[datetime, Meta(tz=True)]


class Hello(Struct, tag_field="type", tag="hello", frozen=True, kw_only=True):
    """The first frame of a worker. `stream` distinguishes the worker's connections: each counts its own `seq`.

    `accepts` has the types of frames that a gateway may send beside those of the first version: an older worker closes
    its connection on a type that it does not know.
    """

    protocol: int
    boot: _Word
    worker: Annotated[str, Meta(min_length=1, max_length=MAX_WORKER_NAME_CHARS)]
    kinds: Annotated[list[_Word], Meta(max_length=MAX_KINDS)]
    version: _Word
    slots: _Count
    stream: _Count = 0
    accepts: Annotated[list[_Word], Meta(max_length=MAX_ACCEPTS)] = []


class _Event(Struct, frozen=True):
    id: UUID
    rev: _Positive
    state: State
    reason: _Word
    attempt: _Count
    at: _Instant


class _Progress(Struct, frozen=True):
    id: UUID
    attempt: _Positive
    progress: Raw
    nonce: Annotated[str, Meta(max_length=64)] = ""


class _EventsFrame(Struct, tag_field="type", tag="events", frozen=True):
    seq: _Positive
    events: Annotated[list[_Event], Meta(max_length=MAX_EVENTS)] = []
    progress: Annotated[list[_Progress], Meta(max_length=MAX_PROGRESS)] = []


class Events(Struct, frozen=True):
    """A worker's report; transitions in the order in which they were persisted."""

    seq: int
    events: tuple[JobEvent, ...]
    progress: tuple[ProgressEvent, ...]


SIGNALLED = "signalled"
"""Of `Hello.accepts`: the worker takes `Signalled`."""


class Welcome(Struct, tag_field="type", tag="welcome", frozen=True):
    """The gateway's response to `hello`. `boot` is the gateway's; `last_seq` is 0 for an unknown stream."""

    protocol: int
    boot: _Word
    last_seq: _Count


class Ack(Struct, tag_field="type", tag="ack", frozen=True):
    """Acknowledge all frames up to `seq`."""

    seq: _Positive


class JobAttempt(Struct, frozen=True):
    """One attempt of a job."""

    id: UUID
    attempt: _Positive


class Cancel(Struct, tag_field="type", tag="cancel", frozen=True):
    """Cancel these attempts."""

    jobs: Annotated[list[JobAttempt], Meta(max_length=MAX_CANCELS)]


class Signalled(Struct, tag_field="type", tag="signalled", frozen=True):
    """End the waits of these attempts: a signal may have come."""

    jobs: Annotated[list[JobAttempt], Meta(max_length=MAX_CANCELS)]


class Drain(Struct, tag_field="type", tag="drain", frozen=True):
    """Drain the worker, then exit."""


class Listen(Struct, tag_field="type", tag="listen", frozen=True):
    """Switch the worker's reports on or off. A new connection starts with reports on."""

    on: bool


class _Envelope(Struct):
    type: str
    protocol: int = PROTOCOL


_encoder = msgspec.json.Encoder()
_from_worker = msgspec.json.Decoder(Hello | _EventsFrame)
_from_gateway = msgspec.json.Decoder(Welcome | Ack | Cancel | Drain | Listen | Signalled)
_envelope = msgspec.json.Decoder(_Envelope)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_T = TypeVar("_T")


def encode(frame: Hello | Welcome | Ack | Cancel | Drain | Listen | Signalled) -> str:
    """Encode a frame."""
    return _encoder.encode(frame).decode()


def event_part(event: JobEvent) -> bytes:
    """Encode one transition for `events_frame`."""
    return _encoder.encode(event)


def progress_part(report: ProgressEvent) -> bytes:
    """Encode one progress report for `events_frame`."""
    return b'{"id":"%s","attempt":%d,"nonce":%s,"progress":%s}' % (
        str(report.id).encode(),
        report.attempt,
        _encoder.encode(report.nonce),
        report.progress,
    )


def events_frame(seq: int, events: Sequence[bytes], progress: Sequence[bytes]) -> str:
    """Assemble an `events` frame from its encoded parts."""
    text = b'{"type":"events","seq":%d,"events":[%s],"progress":[%s]}' % (seq, b",".join(events), b",".join(progress))
    return text.decode()


def parse_from_worker(text: str, *, may_scan: bool = True) -> Hello | Events:
    """Parse a frame that a gateway received. Raise `ProtocolFault`, and `NeedsScan` unless `may_scan`."""
    frame = _parse(_from_worker, text, ("hello", "events"))
    if isinstance(frame, Hello):
        _check_protocol(frame.protocol)
        return frame
    return Events(
        frame.seq,
        tuple(JobEvent(e.id, e.rev, e.state, e.reason, e.attempt, e.at) for e in frame.events),
        tuple(ProgressEvent(p.id, p.attempt, _checked(p.progress, may_scan), p.nonce) for p in frame.progress),
    )


def parse_from_gateway(text: str) -> Welcome | Ack | Cancel | Drain | Listen | Signalled:
    """Parse a frame that a worker received. Raise `ProtocolFault`."""
    known = ("welcome", "ack", "cancel", "drain", "listen", "signalled")
    frame: Welcome | Ack | Cancel | Drain | Listen | Signalled = _parse(_from_gateway, text, known)
    if isinstance(frame, Welcome):
        _check_protocol(frame.protocol)
    return frame


def _parse(decoder: msgspec.json.Decoder[_T], text: str, known: Sequence[str]) -> _T:
    if len(text) > MAX_FRAME_BYTES:
        raise ProtocolFault(CloseCode.BAD_FRAME, f"a frame may have {MAX_FRAME_BYTES} bytes")
    try:
        return decoder.decode(text)
    except _UNREADABLE as error:
        raise _fault(text, error, known) from None


def _fault(text: str, error: Exception, known: Sequence[str]) -> ProtocolFault:
    """Return the precise fault of an unreadable frame."""
    try:
        envelope = _envelope.decode(text)
    except _UNREADABLE:
        return ProtocolFault(CloseCode.BAD_FRAME, f"not a frame: {error}")
    if envelope.type not in known:
        return ProtocolFault(CloseCode.UNKNOWN_TYPE, f"type must be one of {', '.join(known)}")
    if envelope.protocol != PROTOCOL:
        return _other_protocol()
    return ProtocolFault(CloseCode.BAD_FRAME, f"{envelope.type}: {error}")


def _check_protocol(protocol: int) -> None:
    if protocol != PROTOCOL:
        raise _other_protocol()


def _other_protocol() -> ProtocolFault:
    return ProtocolFault(CloseCode.UNKNOWN_PROTOCOL, f"this end supports protocol {PROTOCOL} only")


def _checked(raw: Raw, may_scan: bool) -> bytes:
    """Validate a progress report so that it can be forwarded unchanged: a bounded object in strict JSON."""
    text = bytes(raw)
    try:
        value: Any = strict_json.parse(text, max_bytes=MAX_PROGRESS_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProtocolFault(CloseCode.BAD_FRAME, f"progress: {error.detail}") from None
    if not isinstance(value, dict):
        raise ProtocolFault(CloseCode.BAD_FRAME, "progress must be an object")
    return text
