"""OWNER of the exceptions of the client other than those of problem types. Pure."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from acked_client.model.jobs import Attempt, JobError, JobStatus


class AckedError(Exception):
    """The base of all exceptions of the client.

    `idempotency_key` is the key of the call, if it had one. Repeat the call with it: it makes no second job.
    """

    idempotency_key: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.idempotency_key is None else f"{text} [idempotency key {self.idempotency_key}]"

    def __reduce__(self) -> Any:
        # Exceptions cross processes, whatever their `__init__` takes.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[AckedError], args: tuple[Any, ...], state: dict[str, Any]) -> AckedError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class NoResponse(AckedError):
    """No response came within the budget: no connection, or a connection that broke.

    `may_have_arrived` is false if no server can have seen any of the requests.
    """

    def __init__(self, text: str, *, may_have_arrived: bool) -> None:
        super().__init__(text)
        self.may_have_arrived = may_have_arrived


class UnexpectedResponse(AckedError):
    """A response that Acked does not send: from a proxy, from another server, or from an incompatible version."""

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.status = status


class ErrorAt(Struct, frozen=True, kw_only=True):
    """One fault of a request. `pointer` is a JSON Pointer into the body, or `?name` for a parameter."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457). `members` has what this type adds."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[ErrorAt] = ()
    members: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The last segment of the type, such as `wrong-state`."""
        return self.type.rpartition("/")[2]


class ProblemError(AckedError):
    """The server refused the request. `retry_after_s` is its `Retry-After`, if any."""

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        where = "".join(f"; {error.pointer}: {error.detail}" for error in problem.errors[:3])
        super().__init__(f"{problem.status} {problem.name}: {problem.detail}{where}")
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.problem.status


class InvalidRequest(ProblemError):
    """The request can't be served as it is: correct it."""


class AccessDenied(ProblemError):
    """The token is missing, not valid, or lacks a permission."""


class Conflict(ProblemError):
    """The state of the job, the kind or the worker does not allow this."""


class LimitReached(ProblemError):
    """This client does too much at once, and did so during the whole budget."""


class Unavailable(ProblemError):
    """The server could not do it now, and could not during the whole budget."""


class JobFailed(AckedError):
    """The job ended as `failed`. `job.edited_to` names the job that an operator put in its place, if any."""

    def __init__(self, job: JobStatus) -> None:
        error = job.error
        because = f"{error.type}: {error.message}" if error is not None else job.note or job.reason
        super().__init__(
            f"job {job.id} of kind {job.kind} failed after {job.attempt} attempts ({job.reason}): {because}"
        )
        self.job = job

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id

    @property
    def error(self) -> JobError | None:
        """The error of the newest failed attempt; None if no attempt failed, as for a job that expired."""
        return self.job.error

    @property
    def attempts(self) -> list[Attempt]:
        """The newest 50 attempts that did not succeed, oldest first."""
        return self.job.attempts


class JobCancelled(AckedError):
    """The job ended as `cancelled`."""

    def __init__(self, job: JobStatus) -> None:
        super().__init__(f"job {job.id} of kind {job.kind} was cancelled")
        self.job = job

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id


class StillRunning(AckedError, TimeoutError):
    """The time to wait is over, and the job, or the bulk action, has not ended. Wait again."""

    def __init__(self, what: str, state: str, hint: str | None = None) -> None:
        because = f": {hint}" if hint else ""
        super().__init__(f"{what} has not ended; it is {state}{because}")
        self.state = state
        self.hint = hint


class ResultMismatch(AckedError):
    """The result does not fit the return annotation of the handler. `result` is the plain JSON value."""

    def __init__(self, text: str, result: Any) -> None:
        super().__init__(text)
        self.result = result
