"""The errors of durable calls. Their messages say what to do. Pure."""

from acked.errors import Permanent


class DurableError(Exception):
    """A durable call failed, or was made where it can't be."""


class LastingError(DurableError, Permanent):
    """A durable call failed in a way that no later attempt changes."""

    def __init__(self, message: str) -> None:
        Permanent.__init__(self, message)


class StepFailed(LastingError):
    """A step failed for good: it raised `Permanent`, or its tries are used up. It is raised again at each replay.

    `step` is the step's identity, `type` and `reason` the type and the message of its own error.
    """

    def __init__(self, step: str, type: str, reason: str) -> None:  # noqa: A002 - as `Permanent.type`
        super().__init__(f"step {step} failed for good with {type}: {reason}")
        self.step = step
        self.type = type
        self.reason = reason


class StepUncertain(LastingError):
    """A step with `once=True` began in an earlier attempt, and its outcome is unknown. It is not run again."""

    def __init__(self, step: str) -> None:
        super().__init__(
            f"step {step} has once=True. It began in an earlier attempt, and its outcome was not recorded. Find out "
            "whether it took effect; then catch StepUncertain in the handler, or resolve the job"
        )
        self.step = step


class StepTimedOut(DurableError):
    """A try of a step exceeded the step's `timeout_s`."""

    def __init__(self, step: str, timeout_s: float) -> None:
        super().__init__(f"step {step} exceeded its timeout of {timeout_s:g} s")
        self.step = step


class WaitTimedOut(LastingError):
    """No signal came within the time of `wait_for`. It is raised again at each replay."""

    def __init__(self, wait: str, signal: str) -> None:
        super().__init__(f"{wait}: no signal {signal!r} came in time")
        self.wait = wait
        self.signal = signal


class DuplicateStep(LastingError):
    """Two durable calls of one attempt have the same name and key."""

    def __init__(self, identity: str) -> None:
        super().__init__(
            f"this attempt has made a durable call {identity} already. Give each its own name, or in a loop its own "
            "key: ctx.step(Step('send', key=page), …), ctx.sleep('pause', key=n, …)"
        )
        self.identity = identity


class ResultChanged(LastingError):
    """A recorded result no longer fits the return annotation of its step."""

    def __init__(self, step: str, kept: str, wanted: str, why: str) -> None:
        super().__init__(
            f"the kept result of {step} is {kept}, and the handler now wants {wanted}: {why}. Raise the version of "
            "the step and give the function that converts: Step(…, version=2, upgrade=…), or use another name"
        )
        self.step = step


class InvalidStep(LastingError):
    """A durable call is defined incorrectly. It was refused before it did anything."""


class InvalidResult(LastingError):
    """The value of a step or note can't be stored: it is not JSON, or too large. Nothing was recorded."""


class InsideStep(LastingError):
    """A durable call was made inside a step."""

    def __init__(self, call: str, step: str) -> None:
        super().__init__(
            f"{call} was called inside step {step}, whose function runs again as a whole after a crash. Call it from "
            "the handler, or use ctx.checkpoint in the step"
        )


class TooManySteps(LastingError):
    """The ledger of the job is full."""

    def __init__(self, limit: str) -> None:
        super().__init__(
            f"the job can keep no more durable calls: {limit}. Let one step do more, return references instead of "
            "large results, or split the work into several jobs"
        )


class AttemptParked(BaseException):
    """Unwinds a handler whose attempt parks. Do not catch it: the attempt ends as parked in any case."""

    def __init__(self) -> None:
        super().__init__("the attempt is parked: its handler runs again when the wait ends. Do not catch this")


class LeaseLost(BaseException):
    """Unwinds a handler whose job another attempt owns by now. Nothing that it does is recorded."""

    def __init__(self) -> None:
        super().__init__("another attempt owns the job by now. Do not catch this")
