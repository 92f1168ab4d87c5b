"""What a handler is told about its attempt, and what it may say while it runs."""

import time
from typing import Any, Protocol

import structlog

from acked import json_values

MAX_PROGRESS_BYTES = 16 * 1024


class Options(Protocol):
    """What a request may ask for, as far as handlers see it."""

    @property
    def batch(self) -> str | None:
        """The batch's name."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""


class Attempt(Protocol):
    """What stands behind a context: the worker that runs the attempt, or `acked.testing`."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def kind(self) -> str:
        """The job's kind."""

    @property
    def run(self) -> int:
        """1 at first; a person's retry raises it."""

    @property
    def attempt(self) -> int:
        """The number of this start."""

    @property
    def failures(self) -> int:
        """Earlier attempts of this run that failed."""

    @property
    def options(self) -> "Options":
        """What the request asked for."""

    @property
    def deadline(self) -> float:
        """When the attempt times out, on the monotonic clock."""

    @property
    def asked_to_stop(self) -> bool:
        """Whether the attempt should end; reading it from any thread is safe."""

    def seen_stopping(self) -> None:
        """The handler now knows that it should end."""

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Pass progress on without waiting and without raising."""


class Context:
    """The first argument of every handler. Its fields can't be set. Safe to use from any thread."""

    __slots__ = ("_attempt", "_log")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._log: Any = None

    @property
    def id(self) -> str:
        """The job's id, a UUID in its usual text form."""
        return self._attempt.id

    @property
    def kind(self) -> str:
        """The job's kind."""
        return self._attempt.kind

    @property
    def run(self) -> int:
        """1 at first; a person's retry starts the next run of the same job."""
        return self._attempt.run

    @property
    def attempt(self) -> int:
        """The number of this start, from 1; it also rises when a worker is stopped or lost."""
        return self._attempt.attempt

    @property
    def failures(self) -> int:
        """Earlier attempts of this run that ended in an error or a timeout."""
        return self._attempt.failures

    @property
    def batch(self) -> str | None:
        """The name of the job's batch, if it has one."""
        return self._attempt.options.batch

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""
        return self._attempt.options.tags

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a run: it lets outside APIs tell a second attempt from a second order."""
        return f"{self._attempt.id}:{self._attempt.run}"

    @property
    def remaining_s(self) -> float:
        """Seconds until the attempt times out; 0 when it is past."""
        return max(0.0, self._attempt.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: cancelled, timed out, or its worker is going away.

        An `async def` handler gets `asyncio.CancelledError` then; a plain `def` one can only look here now and again,
        and return or raise when it reads True. What it returns after that is not recorded.
        """
        if not self._attempt.asked_to_stop:
            return False
        self._attempt.seen_stopping()
        return True

    @property
    def log(self) -> Any:
        """A structlog logger that adds `job_id`, `kind` and `attempt` to each line."""
        if self._log is None:
            job = self._attempt
            self._log = structlog.get_logger("acked.handler").bind(job_id=job.id, kind=job.kind, attempt=job.attempt)
        return self._log

    def progress(self, value: Any, message: str | None = None) -> None:
        """Say how far the work is: any JSON value of at most 16 KiB, and perhaps a text for people.

            ctx.progress(0.25, "1 of 4 pages")

        It never waits and never fails because of the way there; of calls in quick succession the newest wins. Raises
        `TypeError` for what is no JSON and `ValueError` for what is too large.
        """
        if message is not None and not isinstance(message, str):
            raise TypeError(f"the message of a progress must be a text, not {type(message).__name__}")
        try:
            encoded = json_values.encode({"value": value, "message": message})
            if len(encoded) <= MAX_PROGRESS_BYTES:
                # Decoded again: a copy that the handler can't change while it is on its way.
                copy = json_values.decode(encoded)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"progress must be a JSON value: {error}") from None
        if len(encoded) > MAX_PROGRESS_BYTES:
            raise ValueError(f"progress is {len(encoded)} bytes long, more than {MAX_PROGRESS_BYTES}")
        self._attempt.report_progress(copy)

    def __repr__(self) -> str:
        return f"<Context of {self.kind} {self.id}, attempt {self.attempt}>"
