"""What happened to jobs, as workers report it and as the feed tells it. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT


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
    nonce: str = ""
    """Of the claim that owns the attempt: known to the worker that made it and to the store alone."""


class JobUpdate(msgspec.Struct, frozen=True):
    """What a look at the store, or one change in it, tells of a job."""

    id: UUID
    kind: str | None
    """None where the job is gone by now."""
    batch: str | None
    event: JobEvent | None
    """The newest transition; None where only progress was written."""
    progress: bytes | None = None
    """A JSON text."""
    nonce: str | None = None
    """Of the claim that owns the running attempt. No client may see it."""
    tenant: str | None = DEFAULT_TENANT
    """Whose job it is: nobody else is told. None where the job is gone by now: then nobody is."""
