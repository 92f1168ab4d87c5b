"""The context of an attempt: what a handler can read, and what it can report while it runs."""

import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from acked import json_values
from acked.durable.contexts import BlockingCalls, DurableCalls, InsideSteps

if TYPE_CHECKING:
    from acked.durable.engine import Engine
    from acked.durable.port import LedgerPort

MAX_PROGRESS_BYTES = 16 * 1024


class Options(Protocol):
    """The options of a request that handlers see."""

    @property
    def batch(self) -> str | None:
        """The batch's name, if any."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The job's tags."""


class Attempt(Protocol):
    """The port behind a context, implemented by the worker and by `acked.testing`."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def kind(self) -> str:
        """The job's kind."""

    @property
    def run(self) -> int:
        """The run, from 1; an operator's retry increments it."""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""

    @property
    def failures(self) -> int:
        """Failed attempts of this run before this one."""

    @property
    def options(self) -> "Options":
        """The options of the request."""

    @property
    def deadline(self) -> float:
        """When the attempt times out, on the monotonic clock in seconds."""

    @property
    def ledger(self) -> "LedgerPort | None":
        """The ledger for durable calls; None if the attempt has none."""

    @property
    def asked_to_stop(self) -> bool:
        """Whether the attempt should end; safe to read from any thread."""

    def seen_stopping(self) -> None:
        """Note that the handler has seen the stop request."""

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Report progress without blocking; never raise."""


class AttemptContext(InsideSteps):
    """What every handler can read and report. Read-only, and safe to use from any thread."""

    __slots__ = ()

    def __init__(self, attempt: Attempt, engine: "Engine | None" = None) -> None:
        self._attempt = attempt
        self._engine = engine
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
        """The run, from 1; an operator's retry starts the next run of the same job."""
        return self._attempt.run

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1; it also rises when a worker is stopped or lost."""
        return self._attempt.attempt

    @property
    def failures(self) -> int:
        """Attempts of this run before this one that ended in an error or a timeout."""
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
        """A key that is equal for all attempts of a run, so that external APIs can deduplicate their calls."""
        return f"{self._attempt.id}:{self._attempt.run}"

    @property
    def remaining_s(self) -> float:
        """Seconds until the attempt times out, at least 0."""
        return max(0.0, self._attempt.deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: it was cancelled or timed out, or its worker is draining.

        An `async def` handler gets `asyncio.CancelledError` then. A plain `def` handler should poll this, and return or
        raise once it is True. A value returned after that is not persisted.
        """
        if not self._attempt.asked_to_stop:
            return False
        self._attempt.seen_stopping()
        return True

    @property
    def log(self) -> Any:
        """A structlog logger bound to `job_id`, `kind` and `attempt`."""
        if self._log is None:
            job = self._attempt
            self._log = structlog.get_logger("acked.handler").bind(job_id=job.id, kind=job.kind, attempt=job.attempt)
        return self._log

    def progress(self, value: Any, message: str | None = None) -> None:
        """Report progress: any JSON value of at most 16 KiB with the message, and optionally a message for people.

            ctx.progress(0.25, "1 of 4 pages")

        It never blocks, and delivery errors are not raised. Of calls in quick succession the newest wins. Raise
        `TypeError` for a value that is not JSON and `ValueError` for one that is too large.
        """
        if message is not None and not isinstance(message, str):
            raise TypeError(f"the message of a progress must be a string, not {type(message).__name__}")
        try:
            encoded = json_values.encode({"value": value, "message": message})
            if len(encoded) <= MAX_PROGRESS_BYTES:
                # Decoded again: a copy that the handler can't mutate before it is sent.
                copy = json_values.decode(encoded)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"progress must be a JSON value: {error}") from None
        if len(encoded) > MAX_PROGRESS_BYTES:
            raise ValueError(f"progress is {len(encoded)} bytes long, more than {MAX_PROGRESS_BYTES}")
        self._attempt.report_progress(copy)

    def __repr__(self) -> str:
        return f"<Context of {self.kind} {self.id}, attempt {self.attempt}>"


class Context(AttemptContext, DurableCalls):
    """The first argument of an `async def` handler."""

    __slots__ = ()

    @property
    def blocking(self) -> "BlockingContext":
        """The same context for plain functions in threads, such as those of steps: its durable calls block."""
        return BlockingContext(self._attempt, self._engine if self._attempt.ledger is None else self._durable())


class BlockingContext(AttemptContext, BlockingCalls):
    """The first argument of a plain `def` handler: its durable calls block the thread instead of being awaited."""

    __slots__ = ()

    @property
    def deferred(self) -> Context:
        """The same context with calls that have not begun, for `gather`."""
        return Context(self._attempt, self._engine if self._attempt.ledger is None else self._durable())


def engine_of(context: AttemptContext) -> "Engine | None":
    """Return the engine of a context; None while its handler has made no durable call."""
    return context._engine
