"""OWNER of the record of an unsuccessful attempt, and of its error group. Pure.

A job stores the newest `ATTEMPTS_KEPT` of its failed, timed-out, crashed and lost attempts; later success does not
remove them. Errors of one cause share a group: kind, type and line of the user's code are equal, and the messages
differ only in parts that vary from job to job. The group is a hash, so it survives restarts and is the same on every
host.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from hashlib import blake2b
from typing import Any

from msgspec import Struct

ATTEMPTS_KEPT = 50
TRACEBACKS_KEPT = 5
"""A traceback may have 16 KiB."""
MAX_MESSAGE_CHARS = 1000
"""The length of messages in a job's attempts; its newest error has the whole message."""

GROUP_VERSION = "1"
"""The prefix of each group, so that another rule makes other groups."""
UNGROUPED = "ungrouped"
"""The pseudo-group of failed jobs whose error has no group, because an earlier version recorded it."""
GROUP_NAME = re.compile(r"[a-z0-9]{1,64}")
"""The form of groups of any rule, and of `UNGROUPED`."""
_DIGEST_BYTES = 8
_FOLDED_CHARS = 500

_VARIABLE = re.compile(
    r"""
    (?P<url>\b[a-z][a-z0-9+.-]{0,15}://[^\s'"<>]+)
    | (?P<quoted>'[^'\n]*'|"[^"\n]*"|`[^`\n]*`)
    | (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
    | (?P<hex>\b0x[0-9a-f]+\b|\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b)
    | (?P<number>\d+(?:[.,:]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)


class AttemptOutcome(StrEnum):
    """The outcome of a recorded attempt."""

    FAILED = auto()
    TIMED_OUT = auto()
    CRASHED = auto()
    LOST = auto()
    """Its worker stopped renewing the lease."""


class EndedAttempt(Struct, frozen=True):
    """An unsuccessful attempt. `error` has `type`, `message`, `retryable`, `group`, and `culprit` if a line of the
    user's code raised it."""

    run: int
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: AttemptOutcome
    error: Mapping[str, Any]
    traceback: str | None = None


def kept_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error as an attempt stores it: with a bounded message, and without the traceback."""
    fields = {name: value for name, value in error.items() if name not in ("traceback", "attempt")}
    message = fields.get("message", "")
    if len(message) > MAX_MESSAGE_CHARS:
        fields["message"] = message[: MAX_MESSAGE_CHARS - 1] + "…"
    return fields


def folded(message: str) -> str:
    """Remove the parts of a message that vary from job to job: URLs, quoted texts, UUIDs, hexadecimal words,
    numbers."""
    return " ".join(_VARIABLE.sub(lambda found: f"<{found.lastgroup}>", message[:_FOLDED_CHARS]).split())


def error_group(kind: str, type_: str, message: str, culprit: str | None = None) -> str:
    """Return the group of an error; `culprit` is the innermost line of the user's own code (see `worker`)."""
    parts = "\0".join((kind, type_, folded(message), culprit or ""))
    return GROUP_VERSION + blake2b(parts.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()


def with_group(error: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return an error with its group."""
    group = error_group(kind, error["type"], error["message"], error.get("culprit"))
    return {**error, "group": group}


def worker_lost(kind: str, worker: str) -> dict[str, Any]:
    """Return the error of an attempt whose worker stopped renewing its lease."""
    message = f"the worker {worker!r} stopped renewing the lease of the attempt: it was killed, or lost its connection"
    return with_group({"type": "WorkerLost", "message": message, "retryable": True}, kind)
