"""The interface for writing handlers.

A handler is a function of two arguments that does the work of one kind of job:

    from acked import Context, Permanent, RetryLater, handler

    @handler("invoice.send", timeout_s=60, max_attempts=8)
    async def send_invoice(ctx: Context, payload: dict) -> dict:
        if "customer" not in payload:
            raise Permanent("the payload has no customer")
        ctx.progress(0.5, "half way")
        return {"sent": True}

The return value must be JSON and becomes the job's result. An exception fails the attempt: `Permanent` fails the job
at once, `RetryLater` retries after its own delay, and any other exception retries with the kind's back-off.
A handler may run more than once for one job; `ctx.idempotency_key` is the same each time.
"""

from acked.context import BlockingContext, Context
from acked.definition import DefinitionError, KindDefinition, KindOptions
from acked.durable import (
    DuplicateStep,
    DurableCall,
    DurableError,
    InsideStep,
    InvalidResult,
    InvalidStep,
    ReceivedSignal,
    ResultChanged,
    Retry,
    Step,
    StepFailed,
    StepTimedOut,
    StepUncertain,
    TooManySteps,
    WaitTimedOut,
)
from acked.errors import Permanent, RetryLater
from acked.registration import Registry, handler, registry

Kind = KindDefinition

__all__ = [
    "BlockingContext",
    "Context",
    "DefinitionError",
    "DuplicateStep",
    "DurableCall",
    "DurableError",
    "InsideStep",
    "InvalidResult",
    "InvalidStep",
    "Kind",
    "KindOptions",
    "Permanent",
    "ReceivedSignal",
    "Registry",
    "ResultChanged",
    "Retry",
    "RetryLater",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "StepUncertain",
    "TooManySteps",
    "WaitTimedOut",
    "handler",
    "registry",
]
