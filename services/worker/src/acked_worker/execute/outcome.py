"""How an attempt ended, made from what its handler returned or raised."""

import asyncio
import re
import reprlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from types import TracebackType
from typing import Any, TypeAlias

from acked import Permanent, RetryLater, json_values
from acked_common.model import strict_json
from acked_common.model.strict_json import StrictJsonError

MAX_TYPE_CHARS = 200
MAX_MESSAGE_BYTES = 4 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_FRAMES = 40


class InterruptReason(StrEnum):
    """Why an attempt was stopped from outside."""

    CANCELLED = auto()
    DRAINED = auto()
    LEASE_LOST = "lease-lost"
    NOT_STARTED = "not-started"
    """Its handler never began: no thread was free, or another handler blocks the loop."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as it is kept and shown. Texts are bounded and have no control characters but line break and tab."""

    type: str
    message: str
    retryable: bool
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned; `result_json` is one JSON value."""

    result_json: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, or returned what can't be kept. `after_s`: the wait in seconds that it asked for."""

    error: ErrorInfo
    retryable: bool
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt took longer than it may; a failure that may be tried again."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was stopped from outside."""

    reason: InterruptReason


@dataclass(frozen=True, slots=True)
class Crashed:
    """The attempt ended the process in which it ran alone; `how` for people, such as "killed by SIGSEGV"."""

    how: str


Ending: TypeAlias = Succeeded | Failed | TimedOut | Interrupted | Crashed

NULL = Succeeded(b"null")

# What a transition weighs beside its result or its error, roughly.
_TRANSITION_BYTES = 512


def weight_bytes(ending: Ending) -> int:
    """About how many bytes the record of an ending takes."""
    if isinstance(ending, Succeeded):
        return _TRANSITION_BYTES + len(ending.result_json)
    if isinstance(ending, Interrupted | Crashed):
        return _TRANSITION_BYTES
    return _TRANSITION_BYTES + len(ending.error.message) + len(ending.error.traceback or "")


def returned(value: Any, max_result_bytes: int) -> Succeeded | Failed:
    """The ending of a handler that returned `value`: its JSON, or why it has none. Never raises."""
    if value is None:
        return NULL
    try:
        encoded = json_values.encode(value)
        if len(encoded) > max_result_bytes:
            return _unusable(
                "ResultTooLarge",
                f"the handler's result has {len(encoded)} bytes of JSON, more than {max_result_bytes}; "
                "store it elsewhere and return where it is",
                value,
            )
        strict_json.parse(encoded, max_bytes=max_result_bytes)
    except StrictJsonError as error:
        where = f" (at {error.pointer})" if error.pointer else ""
        return _unusable("ResultNotJson", f"the handler's result is not JSON: {error.detail}{where}", value)
    except Exception as error:
        return _unusable("ResultNotJson", f"the handler's result is not JSON: {describe(error)}", value)
    return Succeeded(encoded)


def raised(error: BaseException) -> Failed:
    """The ending of a handler that raised `error`. Never raises.

    Of a group (as a `TaskGroup` raises one), a `Permanent` makes it permanent, and the longest `RetryLater` counts.
    """
    leaves = list(_leaves(error))
    cause = leaves[0] if len(leaves) == 1 else error
    retryable = not any(isinstance(leaf, Permanent) for leaf in leaves)
    waits = [leaf.after_s for leaf in leaves if isinstance(leaf, RetryLater)]
    info = ErrorInfo(_type_of(cause), _message_of(cause), retryable, format_traceback(error))
    return Failed(info, retryable, max(waits) if waits and retryable else None)


def timed_out(timeout_s: float, where: str | None = None) -> TimedOut:
    """The ending of an attempt that took longer than `timeout_s`; `where` is the traceback of what it was doing."""
    message = f"the attempt took longer than its timeout of {timeout_s:g} s"
    shown = None if where is None else tail(safe_text(where), MAX_TRACEBACK_BYTES)
    return TimedOut(ErrorInfo("TimedOut", message, retryable=True, traceback=shown))


def failed(type_: str, message: str, *, retryable: bool) -> Failed:
    """An ending that no exception of a handler stands behind."""
    return Failed(ErrorInfo(type_, head(safe_text(message), MAX_MESSAGE_BYTES), retryable), retryable)


def describe(error: BaseException) -> str:
    """An exception as a text, even where its own `__str__` raises."""
    try:
        return str(error)
    except BaseException:
        return f"<{type(error).__name__} whose text can't be read>"


def format_traceback(error: BaseException) -> str | None:
    """The traceback from the handler on, the newest frames if it is long."""
    try:
        shown = traceback.TracebackException(
            type(error), error, _without_worker(error.__traceback__), limit=-MAX_FRAMES, compact=True
        )
        return tail(safe_text("".join(shown.format())), MAX_TRACEBACK_BYTES)
    except Exception:
        return None


def safe_text(text: str) -> str:
    """Text that every store and terminal takes: no lone surrogates, no control characters but line break and tab."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def head(text: str, most_bytes: int) -> str:
    """The start of a text in at most so many bytes of UTF-8; a cut one ends in "…"."""
    encoded = text[:most_bytes].encode()
    if len(encoded) <= most_bytes and len(text) <= most_bytes:
        return text
    return encoded[: most_bytes - 3].decode(errors="ignore") + "…"


def tail(text: str, most_bytes: int) -> str:
    """The end of a text in at most so many bytes of UTF-8; a cut one starts with "…"."""
    encoded = text[-most_bytes:].encode()
    if len(encoded) <= most_bytes and len(text) <= most_bytes:
        return text
    return "…" + encoded[3 - most_bytes :].decode(errors="ignore")


# C0 except tab and line break, DEL and C1, lone surrogates, and the bidirectional overrides that can hide text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def _unusable(type_: str, message: str, value: Any) -> Failed:
    """The work is done, so it is not tried again; the start of what it came to is in the message, for the operator."""
    try:
        shown = _reprs.repr(value)
    except Exception:
        shown = f"<{type(value).__name__} that can't be shown>"
    return failed(type_, f"{message}. The handler has done its work, and returned {shown}", retryable=False)


_reprs = reprlib.Repr()
_reprs.maxlevel = 4
_reprs.maxdict = _reprs.maxlist = _reprs.maxtuple = _reprs.maxset = _reprs.maxfrozenset = _reprs.maxdeque = 20
_reprs.maxstring = _reprs.maxother = 200


def _type_of(error: BaseException) -> str:
    name = error.type if isinstance(error, Permanent) and error.type else type(error).__name__
    return head(safe_text(str(name)), MAX_TYPE_CHARS)


def _message_of(error: BaseException) -> str:
    message = describe(error)
    if not message:
        is_cancel = isinstance(error, asyncio.CancelledError)
        message = "something in the handler cancelled it; nobody cancelled the job" if is_cancel else _type_of(error)
    return head(safe_text(message), MAX_MESSAGE_BYTES)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _without_worker(frames: TracebackType | None) -> TracebackType | None:
    """The frames below the executor's own; all of them where nothing else is there."""
    below = frames
    while below is not None and below.tb_frame.f_globals.get("__package__") == __package__:
        below = below.tb_next
    return below or frames
