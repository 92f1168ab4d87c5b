"""OWNER of the states of a job in the client. Pure."""

from enum import StrEnum


class State(StrEnum):
    """Where a job is. A newer server may add states, so fields that hold one are plain strings."""

    QUEUED = "queued"
    RUNNING = "running"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
"""The terminal states."""
