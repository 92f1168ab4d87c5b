"""What happened to jobs, as workers report it and as the feed tells it. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from acked_common.lifecycle import State


class JobEvent(msgspec.Struct, frozen=True):
    """One transition of a job."""

    id: UUID
    rev: int
    state: State
    reason: str
    """A `Reason`, or the word of a newer version."""
    attempt: int
    at: datetime


class ProgressEvent(msgspec.Struct, frozen=True):
    """The newest progress of a running attempt; it raises no rev."""

    id: UUID
    attempt: int
    progress: bytes
    """A JSON text."""
