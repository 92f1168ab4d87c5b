"""`Acked`: the blocking client."""

import random
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from acked_client.core import bulk, jobs, lists
from acked_client.core.bulk import BulkRequest
from acked_client.core.exchange import Session
from acked_client.core.frames import Scope
from acked_client.core.many import CHUNK_ROWS, ManyRows
from acked_client.core.watch import Watch
from acked_client.model.jobs import JobEvent, JobSummary
from acked_client.model.lists import Batch, BulkPreview, Kind
from acked_client.model.requests import (
    AsyncHandler,
    BulkVerb,
    Callback,
    JobFilter,
    PlainHandler,
    Resolution,
    RetryPolicy,
    Submission,
    SubmittedRow,
    TraceContext,
)
from acked_client.settings import read_config
from acked_client.shells.attention import AttentionCalls
from acked_client.shells.blocking import Driver
from acked_client.shells.callback_endpoints import CallbackEndpointCalls
from acked_client.shells.callbacks import CallbackCalls
from acked_client.shells.figures import FigureCalls
from acked_client.shells.handles import BulkHandle, Handle
from acked_client.shells.operating import OperatorCalls
from acked_client.shells.schedules import ScheduleCalls

T = TypeVar("T")
CHUNKS_AHEAD = 2
"""Chunks of `submit_many` that are held for each one under way."""


class Acked(OperatorCalls, ScheduleCalls, CallbackCalls, CallbackEndpointCalls, AttentionCalls, FigureCalls):
    """A blocking client. Threads may share it. Close it, or use it in a `with` block.

    `gateway` is the address of the gateway. Pass `intake` if it has another host; otherwise the gateway names it.
    The token comes from `token` or `token_file`, else from the environment (`ACKED_TOKEN`, `ACKED_TOKEN_FILE`).
    `retry` has the budget and delays of retries. `verify` is an `ssl.SSLContext`, or False for no verification.
    `trace_context` returns the headers `traceparent` and `tracestate` for each request.
    """

    def __init__(
        self,
        gateway: str = "http://localhost:8080",
        *,
        intake: str | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
        retry: RetryPolicy | None = None,
        verify: ssl.SSLContext | bool = True,
        trace_context: TraceContext | None = None,
    ) -> None:
        config = read_config(
            gateway,
            intake=intake,
            token=token,
            token_file=token_file,
            retry=retry,
            verify=verify,
            trace_context=trace_context,
        )
        self._driver = Driver(config)
        self._session = Session(config.gateway, config.intake, config.policy, random.Random(), _new_key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session.gateway}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Jobs continue."""
        self._driver.close()

    @overload
    def submit(
        self,
        handler: AsyncHandler[T],
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        batch: str | None = None,
        tags: Sequence[str] = (),
        delay_s: float | None = None,
        max_attempts: int | None = None,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        callback: Callback | str | None = None,
    ) -> Handle[T]: ...

    @overload
    def submit(
        self,
        handler: PlainHandler[T],
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        batch: str | None = None,
        tags: Sequence[str] = (),
        delay_s: float | None = None,
        max_attempts: int | None = None,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        callback: Callback | str | None = None,
    ) -> Handle[T]: ...

    @overload
    def submit(
        self,
        handler: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        batch: str | None = None,
        tags: Sequence[str] = (),
        delay_s: float | None = None,
        max_attempts: int | None = None,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        callback: Callback | str | None = None,
    ) -> Handle[Any]: ...

    def submit(  # noqa: PLR0913 - the options of a request, each with a default
        self,
        handler: Callable[[Any, Any], Any] | str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        batch: str | None = None,
        tags: Sequence[str] = (),
        delay_s: float | None = None,
        max_attempts: int | None = None,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        callback: Callback | str | None = None,
    ) -> Handle[Any]:
        """Submit a job and return its handle once it is durable.

        `handler` is the handler, whose return type is that of the result, or the name of its kind. `payload` is any
        JSON; None means an empty object. Durations are seconds. `callback` is a URL that receives a signed event when
        the job ends, or a `Callback` that selects events. Without an `idempotency_key` the client mints one for this
        call; all repetitions carry it, so they are one job.
        """
        submission = Submission(
            kind=handler,
            payload=payload,
            idempotency_key=idempotency_key,
            batch=batch,
            tags=tags,
            delay_s=delay_s,
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            expires_in_s=expires_in_s,
            callback=callback,
        )
        request = jobs.submit_request(submission, self._session.new_key)
        submitted = self._driver.run(jobs.submit(self._session, request))
        return Handle(self._driver, self._session, submitted.accepted.id, handler, submitted)

    def submit_many(
        self, rows: Iterable[Submission], *, key_prefix: str | None = None, concurrency: int = 2
    ) -> Iterator[SubmittedRow[Handle[Any]]]:
        """Submit many jobs and iterate over the outcomes, in the order of the rows.

        Nothing is sent before you iterate.
        A refused row has an `error`, and later rows continue. If the server is unreachable, or the token is not
        valid, the exception is raised at that row; later rows may have been accepted. `key_prefix` makes the keys
        of rows without one, `prefix:0`, `prefix:1`, …: the same rows with the same prefix are the same jobs, so repeat
        the call to resume it. Up to 500 rows travel in a request; `concurrency` is how many requests are under way at
        once.
        """
        prefix = self._session.new_key() if key_prefix is None else key_prefix
        many = ManyRows(rows, prefix, concurrency * CHUNKS_AHEAD * CHUNK_ROWS)
        for outcome in self._driver.many(self._session, many, concurrency):
            row, submitted, job = outcome.row, outcome.submitted, None
            if submitted is not None:
                kind = row.submission.kind
                job = Handle[Any](self._driver, self._session, submitted.accepted.id, kind, submitted)
            yield SubmittedRow(index=row.index, idempotency_key=row.idempotency_key, job=job, error=outcome.error)

    @overload
    def job(self, job_id: str, handler: AsyncHandler[T]) -> Handle[T]: ...

    @overload
    def job(self, job_id: str, handler: PlainHandler[T]) -> Handle[T]: ...

    @overload
    def job(self, job_id: str, handler: None = None) -> Handle[Any]: ...

    def job(self, job_id: str, handler: Callable[[Any, Any], Any] | None = None) -> Handle[Any]:
        """Return the handle of an existing job, without a request. `handler` gives its result a type."""
        return Handle(self._driver, self._session, job_id, "" if handler is None else handler)

    def jobs(
        self, where: JobFilter | None = None, *, worker: str | None = None, page_size: int = 200
    ) -> Iterator[JobSummary]:
        """Iterate over jobs, newest first. `worker` selects those that the worker of this name runs now."""
        return self._driver.pages(lists.jobs(self._session, where, worker, page_size))

    def batch(self, name: str) -> Batch:
        """Return the progress of a batch."""
        return self._driver.run(lists.batch(self._session, name))

    def kinds(self) -> list[Kind]:
        """Return the kinds that workers have registered."""
        return self._driver.run(lists.kinds(self._session))

    def preview_bulk_action(
        self, action: BulkVerb, where: JobFilter | Sequence[str], *, resolution: Resolution | None = None
    ) -> BulkPreview:
        """Count the jobs that a bulk action would move, and change nothing.

        `where` is a filter, or up to 10,000 ids. Pass the `plan` of the preview to `bulk_action`.
        """
        request = BulkRequest(action=action, where=where, resolution=resolution)
        return self._driver.run(bulk.preview(self._session, request))

    def bulk_action(
        self,
        action: BulkVerb,
        where: JobFilter | Sequence[str],
        *,
        plan: str | None = None,
        rate_per_s: float | None = None,
        reason: str | None = None,
        resolution: Resolution | None = None,
    ) -> BulkHandle:
        """Start one command for many jobs and return its handle.

        `plan` limits it to the jobs of a preview; without one, to the jobs that match now. `rate_per_s` is the most
        jobs that move per second.
        """
        request = BulkRequest(
            action=action, where=where, plan=plan, rate_per_s=rate_per_s, reason=reason, resolution=resolution
        )
        begun = self._driver.run(bulk.start(self._session, request))
        return BulkHandle(self._driver, self._session, begun.id, begun)

    def bulk(self, action_id: str) -> BulkHandle:
        """Return the handle of an existing bulk action, without a request."""
        return BulkHandle(self._driver, self._session, action_id)

    def watch(
        self,
        *,
        batch: str | None = None,
        kind: str | None = None,
        ids: Sequence[str] | None = None,
        progress: bool = False,
    ) -> Iterator[JobEvent]:
        """Iterate over the transitions of jobs as they happen: of a batch, a kind, some ids, or all jobs.

        Begin with the present state of each job. Connect again when the connection is lost, and catch up. No revision
        of a job comes twice or after a later one. `progress` adds progress reports.
        """
        scope = Scope(batch=batch, kind=kind, ids=None if ids is None else tuple(ids))
        return self._driver.watch(Watch(self._session, scope, progress).run())


def _new_key() -> str:
    return str(uuid.uuid4())
