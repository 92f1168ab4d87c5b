"""What `AsyncAcked` returns for a job and for a bulk action."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from acked_client.core import bulk, callbacks, jobs, json_text, lists, operating
from acked_client.core.effects import Flow
from acked_client.core.exchange import Session
from acked_client.model.callbacks import Delivery, Resent
from acked_client.model.errors import AckedError
from acked_client.model.jobs import Accepted, JobStatus, SentSignal, Step
from acked_client.model.lists import BulkStatus
from acked_client.model.operating import JobDetails, Signals
from acked_client.model.requests import Resolution
from acked_client.shells.asynchronous import AsyncDriver

T = TypeVar("T")
R = TypeVar("R")


class AsyncHandle(Generic[T]):
    """A job. `T` is the type of its result: what its handler returns.

    `idempotency_key` is the key of the submission, and `is_replay` is true if an earlier request with this key created
    the job. Both are None of a handle that `job` made.
    """

    def __init__(
        self,
        driver: AsyncDriver,
        session: Session,
        job_id: str,
        handler: Callable[[Any, Any], Any] | str,
        submitted: jobs.Submitted | None = None,
    ) -> None:
        self._driver = driver
        self._session = session
        self._handler = handler
        self.id = job_id
        self.idempotency_key = None if submitted is None else submitted.idempotency_key
        self.is_replay = None if submitted is None else submitted.is_replay

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    async def status(self) -> JobStatus:
        """Return the status of the job."""
        return await self._run(jobs.status(self._session, self.id))

    async def details(self) -> JobDetails:
        """Return the status of the job with its payload."""
        return await self._run(operating.details(self._session, self.id))

    async def result(self, timeout: float | None = None) -> T:
        """Wait until the job has ended and return its result, as the type that its handler returns.

        `timeout` is in seconds; None waits for as long as it takes. Lost connections are repeated meanwhile. Raise
        `JobFailed`, `JobCancelled`, `StillRunning` after the timeout, or `ResultMismatch`.
        """
        plain = await self._run(jobs.result(self._session, self.id, timeout))
        converted: T = json_text.result_of(self._handler, plain)
        return converted

    async def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until the job has ended, in any terminal state, and return its status.

        `timeout` is in seconds; None waits for as long as it takes. Raise `StillRunning` after the timeout.
        """
        return await self._run(jobs.ended(self._session, self.id, timeout))

    async def cancel(self) -> JobStatus:
        """Cancel the job; a running one is stopped by its worker. A second cancel has no effect."""
        return await self._run(jobs.command(self._session, self.id, "cancel"))

    async def retry(self) -> JobStatus:
        """Start a new run of a failed or cancelled job."""
        return await self._run(jobs.command(self._session, self.id, "retry"))

    async def run_now(self) -> JobStatus:
        """End the delay or the back-off of a scheduled job, or the sleep of a parked one."""
        return await self._run(jobs.command(self._session, self.id, "run-now"))

    async def resolve(self, resolution: Resolution) -> JobStatus:
        """Give a failed job its outcome by hand."""
        return await self._run(jobs.resolve(self._session, self.id, resolution))

    async def erase(self) -> JobStatus:
        """Remove payload, result and errors of an ended job. A second erase has no effect."""
        return await self._run(jobs.command(self._session, self.id, "erase"))

    async def edit(self, payload: Any) -> "AsyncHandle[T]":
        """Replace a failed or cancelled job by a new one with another payload, and return the new one.

        The same edit of one run returns the same job.
        """
        accepted: Accepted = await self._run(jobs.edit(self._session, self.id, payload))
        return AsyncHandle(self._driver, self._session, accepted.id, self._handler)

    async def signal(
        self,
        name: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - as the API names it
    ) -> SentSignal:
        """Send a signal, any JSON, to the job; it is taken once.

        `id` is the idempotency key of the signal. Without one the client mints one for this call.
        """
        return await self._run(jobs.signal(self._session, self.id, name, payload, id))

    def steps(self, *, newest_first: bool = False) -> AsyncIterator[Step]:
        """Iterate over the durable calls of the job in the order in which they were first recorded."""
        return self._driver.pages(lists.steps(self._session, self.id, newest_first))

    async def signals(self) -> Signals:
        """Return the signals of the job: the unread ones, and the newest that were taken. Values are left out."""
        return await self._run(operating.signals(self._session, self.id))

    def callbacks(self) -> AsyncIterator[Delivery]:
        """Iterate over the deliveries of the job's callback, newest first."""
        return self._driver.pages(callbacks.deliveries(self._session, self.id))

    async def resend(self, delivery: str) -> Resent:
        """Send the event of a delivery again, by a new delivery. `delivery` is the id of one of the deliveries."""
        return await self._run(callbacks.resend(self._session, self.id, delivery))

    async def _run(self, flow: Flow[R]) -> R:
        try:
            return await self._driver.run(flow)
        except AckedError as error:
            if error.idempotency_key is None:
                error.idempotency_key = self.idempotency_key
            raise


class AsyncBulkHandle:
    """A bulk action. `begun` is its status when it was started; None of a handle that `bulk` made."""

    def __init__(self, driver: AsyncDriver, session: Session, action_id: str, begun: BulkStatus | None = None) -> None:
        self._driver = driver
        self._session = session
        self.id = action_id
        self.begun = begun

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    async def status(self) -> BulkStatus:
        """Return how far the action is."""
        return await self._driver.run(bulk.status(self._session, self.id))

    async def progress(self) -> AsyncIterator[BulkStatus]:
        """Iterate over the statuses of the action as they change, until it has ended."""
        known: BulkStatus | None = None
        while known is None or not known.has_ended:
            known = await self._driver.run(bulk.changed(self._session, self.id, known))
            yield known

    async def wait(self, timeout: float | None = None) -> BulkStatus:
        """Wait until the action has ended and return its status.

        `timeout` is in seconds; None waits for as long as it takes. Raise `StillRunning` after the timeout.
        """
        return await self._driver.run(bulk.ended(self._session, self.id, timeout))

    async def abort(self) -> BulkStatus:
        """End the action within a second. Jobs that have moved stay as they are."""
        return await self._driver.run(bulk.abort(self._session, self.id))
