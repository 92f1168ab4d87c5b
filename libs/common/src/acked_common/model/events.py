"""Transitions and progress of jobs, as workers report them and as the feed publishes them. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.topics import Origin


class JobEvent(msgspec.Struct, frozen=True):
    """One transition of a job."""

    id: UUID
    rev: int
    state: State
    reason: str
    """A `Reason`, or the reason of a newer version."""
    attempt: int
    at: datetime


class ProgressEvent(msgspec.Struct, frozen=True):
    """The newest progress of a running attempt; it raises no rev."""

    id: UUID
    attempt: int
    progress: bytes
    """A JSON text."""
    nonce: str = ""
    """The nonce of the claim that owns the attempt. Only the worker that made the claim and the store know it."""


class JobUpdate(msgspec.Struct, frozen=True):
    """The state of a job in a snapshot, or one change of it."""

    id: UUID
    origin: Origin
    """`GONE` if the job no longer exists: no client receives the update."""
    event: JobEvent | None
    """The newest transition; None if only progress was written."""
    progress: bytes | None = None
    """A JSON text."""
    nonce: str | None = None
    """The nonce of the claim that owns the running attempt. No client may see it."""
    waits: Waits | None = None
    """Why the job is parked; None in every other state."""
