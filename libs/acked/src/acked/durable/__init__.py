"""Durable calls: a handler runs again from its top, and calls that have ended return their recorded outcomes.

`steps`, `waits` and `gather` are the calls, `engine` and `turns` what they share. A worker and `acked.testing`
implement `port`. Identity is a name and a key, never a position, so code may change between two attempts.
"""

from acked.durable.calls import DurableCall
from acked.durable.errors import (
    AttemptParked,
    DuplicateStep,
    DurableError,
    InsideStep,
    InvalidResult,
    InvalidStep,
    LeaseLost,
    ResultChanged,
    StepFailed,
    StepTimedOut,
    StepUncertain,
    TooManySteps,
    WaitTimedOut,
)
from acked.durable.step import Retry, Step
from acked.durable.waits import ReceivedSignal

__all__ = [
    "AttemptParked",
    "DuplicateStep",
    "DurableCall",
    "DurableError",
    "InsideStep",
    "InvalidResult",
    "InvalidStep",
    "LeaseLost",
    "ReceivedSignal",
    "ResultChanged",
    "Retry",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "StepUncertain",
    "TooManySteps",
    "WaitTimedOut",
]
