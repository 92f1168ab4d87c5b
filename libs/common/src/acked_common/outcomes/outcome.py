"""The ending of an attempt, derived from what its handler returned or raised. Pure."""

import re
import reprlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from types import TracebackType
from typing import Any, TypeAlias

from acked import Permanent, RetryLater, json_values
from acked_common.model import strict_json
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.strict_json import StrictJsonError
from acked_common.outcomes.culprit import culprit_of
from acked_common.outcomes.payload import PayloadNotTaken

MAX_TYPE_CHARS = 200
MAX_MESSAGE_BYTES = 4 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_CULPRIT_BYTES = 300
MAX_DETAILS_BYTES = 32 * 1024
MAX_FRAMES = 40


class InterruptReason(StrEnum):
    """Why an attempt was stopped from outside."""

    CANCELLED = auto()
    DRAINED = auto()
    LEASE_LOST = "lease-lost"
    NOT_STARTED = "not-started"
    """The handler never began: no thread was free, or another handler blocked the loop."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as it is persisted and shown: bounded texts without control characters except line break and tab."""

    type: str
    message: str
    retryable: bool
    traceback: str | None = None
    culprit: str | None = None
    """The innermost line of the user's own code that raised it; see `culprit`."""
    details: Mapping[str, Any] | None = None
    """The details that a shipped kind stores of a failed attempt, such as the response to a callback."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned; `result_json` is one JSON value."""

    result_json: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, or returned an invalid result. `after_s` is the retry delay that it requested."""

    error: ErrorInfo
    retryable: bool
    after_s: float | None = None
    progressed_at_failures: int = 0
    """The failures of the run when a durable call last had a new outcome; 0 without durable calls."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt exceeded its timeout; a retryable failure."""

    error: ErrorInfo
    progressed_at_failures: int = 0
    """As in `Failed`."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was stopped from outside."""

    reason: InterruptReason
    idle_starts: int = 0
    """Only with `NOT_STARTED`: the earlier starts that failed too, by `outcome_rules.idle_starts`."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The attempt ended its isolated process; `how` is for people, such as "killed by SIGSEGV"."""

    how: str
    progressed_at_crashes: int = 0
    """The crashes of the run when a durable call last had a new outcome; 0 without durable calls."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The handler waits for an instant or a signal. The job leaves its worker until then.

    `in_seq` is the number of signals that the attempt had read; the park applies only if no more were announced.
    """

    waits: Waits
    in_seq: int


Ending: TypeAlias = Succeeded | Failed | TimedOut | Interrupted | Crashed | Parked

NULL = Succeeded(b"null")

# Approximate size of a transition without its result or error.
_TRANSITION_BYTES = 512
# An error is written as the job's own and among the attempts that the job keeps.
_ERROR_COPIES = 2


def weight_bytes(ending: Ending) -> int:
    """Return the approximate size in bytes of the record of an ending."""
    if isinstance(ending, Succeeded):
        return _TRANSITION_BYTES + len(ending.result_json)
    if isinstance(ending, Interrupted | Crashed | Parked):
        return _TRANSITION_BYTES
    error = ending.error
    return _TRANSITION_BYTES + _ERROR_COPIES * sum(
        map(len, (error.message, error.traceback or "", error.culprit or "", str(error.details or "")))
    )


def returned(value: Any, max_result_bytes: int) -> Succeeded | Failed:
    """Return the ending of a handler that returned `value`: its JSON, or why it is invalid. Never raise."""
    if value is None:
        return NULL
    try:
        encoded = json_values.encode(value)
        if len(encoded) > max_result_bytes:
            return _unusable(
                "ResultTooLarge",
                f"the handler's result has {len(encoded)} bytes of JSON, more than {max_result_bytes}; "
                "store it elsewhere and return a reference to it",
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
    """Return the ending of a handler that raised `error`. Never raise.

    In an exception group, such as a `TaskGroup` raises, a `Permanent` makes the failure permanent, and the longest
    `RetryLater` counts.
    """
    leaves = list(_leaves(error))
    cause = leaves[0] if len(leaves) == 1 else error
    retryable = not any(isinstance(leaf, Permanent) for leaf in leaves)
    waits = [leaf.after_s for leaf in leaves if isinstance(leaf, RetryLater)]
    # The handler has not begun: there is no line of the user's code to show.
    shown = None if isinstance(cause, PayloadNotTaken) else format_traceback(error)
    info = ErrorInfo(_type_of(cause), _message_of(cause), retryable, shown, _culprit_of(cause), _details_of(cause))
    return Failed(info, retryable, max(waits) if waits and retryable else None)


def timed_out(timeout_s: float, where: str | None = None) -> TimedOut:
    """Return the ending of an attempt that exceeded `timeout_s`; `where` is the traceback at that moment."""
    message = f"the attempt exceeded its timeout of {timeout_s:g} s"
    shown = None if where is None else tail(safe_text(where), MAX_TRACEBACK_BYTES)
    return TimedOut(ErrorInfo("TimedOut", message, retryable=True, traceback=shown))


def failed(type_: str, message: str, *, retryable: bool) -> Failed:
    """Return a failure that was not raised by a handler."""
    return Failed(ErrorInfo(type_, head(safe_text(message), MAX_MESSAGE_BYTES), retryable), retryable)


def describe(error: BaseException) -> str:
    """Return the text of an exception, even if its `__str__` raises."""
    try:
        return str(error)
    except BaseException:
        return f"<{type(error).__name__} whose text can't be read>"


def format_traceback(error: BaseException) -> str | None:
    """Format the traceback from the handler on; the newest frames if it is long."""
    try:
        shown = traceback.TracebackException(
            type(error), error, _without_runner(error.__traceback__), limit=-MAX_FRAMES, compact=True
        )
        return tail(safe_text("".join(shown.format())), MAX_TRACEBACK_BYTES)
    except Exception:
        return None


def safe_text(text: str) -> str:
    """Replace lone surrogates and control characters except line break and tab, so that stores and terminals accept
    it."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def head(text: str, most_bytes: int) -> str:
    """Return the start of a text in at most `most_bytes` of UTF-8; a truncated one ends in "…"."""
    encoded = text[:most_bytes].encode()
    if len(encoded) <= most_bytes and len(text) <= most_bytes:
        return text
    return encoded[: most_bytes - 3].decode(errors="ignore") + "…"


def tail(text: str, most_bytes: int) -> str:
    """Return the end of a text in at most `most_bytes` of UTF-8; a truncated one starts with "…"."""
    encoded = text[-most_bytes:].encode()
    if len(encoded) <= most_bytes and len(text) <= most_bytes:
        return text
    return "…" + encoded[3 - most_bytes :].decode(errors="ignore")


# C0 except tab and line break, DEL and C1, lone surrogates, and the bidirectional overrides that can hide text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def _unusable(type_: str, message: str, value: Any) -> Failed:
    """Fail without retry, since the work is done. The message shows the start of the result to the operator."""
    try:
        shown = _reprs.repr(value)
    except Exception:
        shown = f"<{type(value).__name__} that can't be shown>"
    return failed(type_, f"{message}. The handler completed its work and returned {shown}", retryable=False)


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
        # By its name: a pure module does not import asyncio.
        is_cancel = type(error).__name__ == "CancelledError"
        message = "code in the handler cancelled it; the job was not cancelled" if is_cancel else _type_of(error)
    return head(safe_text(message), MAX_MESSAGE_BYTES)


def _culprit_of(error: BaseException) -> str | None:
    found = culprit_of(error)
    return None if found is None else head(safe_text(found).replace("\n", " "), MAX_CULPRIT_BYTES)


def _details_of(error: BaseException) -> dict[str, Any] | None:
    """Return the details that a shipped kind has attached to an exception; None for kinds of users."""
    details = getattr(error, "acked_details", None) if isinstance(error, Permanent | RetryLater) else None
    try:
        text = json_values.encode(dict(details)) if details else b""
        return json_values.decode(text.decode()) if 0 < len(text) <= MAX_DETAILS_BYTES else None
    except Exception:
        return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


_RUNNERS = frozenset({"acked_worker.execute", "acked.testing"})
"""The packages that call handlers."""


def _without_runner(frames: TracebackType | None) -> TracebackType | None:
    """Drop the frames of the code that called the handler; return all if there are no others."""
    below = frames
    while below is not None and below.tb_frame.f_globals.get("__package__") in _RUNNERS:
        below = below.tb_next
    return below or frames
