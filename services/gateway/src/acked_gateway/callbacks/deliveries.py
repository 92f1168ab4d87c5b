"""The deliveries of a job for readers, and sending one again on behalf of an operator."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, get_args
from uuid import UUID

import msgspec

from acked_common.api.representations import raw
from acked_common.api.status_route import stored_job
from acked_common.http.problems import ProblemError, problem
from acked_common.model.audit import AuditAction
from acked_common.model.callbacks import CALLBACK_KIND, MAX_RESENDS, EventDelivery, JobEnd, delivery_id
from acked_common.model.ids import parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.principal import Operator
from acked_common.store.callback_endpoints import EndpointStore
from acked_common.store.callbacks import CallbackRequests
from acked_common.store.ports import JobLists
from acked_common.store.records import Job
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.operations import (
    DeliveryAttempt,
    DeliveryOf,
    DeliveryResponse,
    Event,
    Resent,
)

_EVENTS: Mapping[str, Event] = {event: event for event in get_args(Event)}


class DeliveryStore(JobLists, CallbackRequests, Protocol):
    """The roles of the store for deliveries."""

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Read jobs of all tenants."""
        ...


class Resends:
    """Asks for events to be sent again."""

    def __init__(self, store: DeliveryStore, endpoints: EndpointStore, audit: Audit) -> None:
        self._store = store
        self._endpoints = endpoints
        self._audit = audit

    async def resend(self, id_text: str, delivery_text: str, *, operator: Operator) -> Resent:
        """Mark the event of a delivery for another one. Raises `ProblemError`, `StoreError`."""
        job = await stored_job(self._store, id_text, tenant=operator.tenant)
        found = await self._store.get(parse_id(delivery_text) or UUID(int=0), tenant=operator.tenant)
        sent = None if found is None else delivery_in(found)
        if sent is None or sent.job != job.id:
            raise ProblemError(problem("not-found", f"the job has no delivery {delivery_text[:64]!r}"))
        end = next((one for one in job.callback_ends if _is_again(one, sent)), None)
        if end is None:
            end = await self._next(job, sent)
            await self._check_endpoint(job, sent)
            target = {"job": str(job.id), "delivery": str(delivery_id(job.id, end))}
            await self._audit.note(operator, AuditAction.CALLBACK_RESEND, target)
            if not await self._store.ask_again(job.id, end, tenant=operator.tenant):
                raise ProblemError(problem("not-found", f"no job has the id {id_text[:64]!r} by now"))
        return {"id": str(delivery_id(job.id, end)), "webhook_id": sent.webhook_id, "resend": end.resend}

    async def _check_endpoint(self, job: Job, sent: EventDelivery) -> None:
        if not sent.endpoint:
            return
        found = await self._endpoints.get(sent.endpoint, tenant=job.tenant)
        if found is None:
            raise _wrong_state(job, f"the callback endpoint {sent.endpoint} was deleted: nothing can be sent to it")
        if found.stopped is not None:
            how = f"enable it with POST /callback-endpoints/{sent.endpoint}/enable, then send the event again"
            raise _wrong_state(job, f"{found.stopped}: {how}")

    async def _next(self, job: Job, sent: EventDelivery) -> JobEnd:
        """Return the end of the next delivery of the same event."""
        ends = [JobEnd(sent.run, sent.event, sent.ended_at, number, sent.endpoint) for number in range(MAX_RESENDS + 1)]
        known = await self._store.get_many([delivery_id(job.id, end) for end in ends])
        newest = max((end for end in ends if delivery_id(job.id, end) in known), default=ends[0])
        newest_job = known.get(delivery_id(job.id, newest))
        if newest_job is not None and not newest_job.state.is_terminal:
            detail = f"delivery {newest_job.id} of this event is still being sent: wait for its end, or cancel that job"
            raise _wrong_state(newest_job, detail)
        if newest.resend >= MAX_RESENDS:
            raise _wrong_state(job, f"the event was sent again {MAX_RESENDS} times already")
        return ends[newest.resend + 1]


def _is_again(end: JobEnd, sent: EventDelivery) -> bool:
    return bool(end.resend) and (end.run, end.event, end.endpoint) == (sent.run, sent.event, sent.endpoint)


def _wrong_state(job: Job, why: str) -> ProblemError:
    return ProblemError(problem("wrong-state", why, extra={"state": job.state.value, "reason": job.reason}))


def delivery_in(job: Job) -> EventDelivery | None:
    """Return what a job delivers; None for a job of another kind, and for one whose payload was erased."""
    if job.kind != CALLBACK_KIND:
        return None
    try:
        return msgspec.json.decode(job.payload, type=EventDelivery)
    except msgspec.ValidationError:
        return None


def delivery_fields(job: Job) -> DeliveryOf | None:
    """Return a delivery for a reader; None as in `delivery_in`."""
    sent = delivery_in(job)
    if sent is None or sent.event not in _EVENTS:
        return None
    return {
        "id": str(job.id),
        "job": str(sent.job),
        "state": job.state,
        "event": _EVENTS[sent.event],
        "run": sent.run,
        "resend": sent.resend,
        "webhook_id": sent.webhook_id,
        "endpoint": sent.endpoint or None,
        "url": sent.url,
        "body": raw(sent.body.encode()),
        "accepted_at": rfc3339(job.accepted_at),
        "finished_at": None if job.finished_at is None else rfc3339(job.finished_at),
        "next_attempt_at": None if job.due_at is None else rfc3339(job.due_at),
        "attempts": _attempts(job),
    }


def _attempts(job: Job) -> list[DeliveryAttempt]:
    found = [
        _attempt(
            ended.error.get("details"),
            run=ended.run,
            attempt=ended.attempt,
            outcome=ended.outcome.value,
            started_at=ended.started_at,
            ended_at=ended.ended_at,
            error=ended.error.get("message"),
        )
        for ended in job.attempts
    ]
    if job.state is State.SUCCEEDED and job.result is not None:
        found.append(
            _attempt(
                msgspec.json.decode(job.result),
                run=job.run,
                attempt=job.attempt,
                outcome=State.SUCCEEDED.value,
                started_at=job.started_at,
                ended_at=job.finished_at,
                error=None,
            )
        )
    return found


class _Details(msgspec.Struct):
    """The details of an attempt that the handler stores."""

    sent_at: int | None = None
    duration_s: float | None = None
    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    is_cut: bool = False


def _attempt(
    details: Any,
    *,
    run: int,
    attempt: int,
    outcome: str,
    started_at: datetime | None,
    ended_at: datetime | None,
    error: str | None,
) -> DeliveryAttempt:
    """Return one attempt. `details` is what the handler has stored, or another value: an operator may have resolved the
    delivery with a result."""
    try:
        kept = msgspec.convert(details, _Details)
    except msgspec.ValidationError:
        kept = _Details()
    response: DeliveryResponse | None = None
    if kept.status is not None:
        response = {"status": kept.status, "headers": kept.headers, "body": kept.body, "is_cut": kept.is_cut}
    return {
        "run": run,
        "attempt": attempt,
        "outcome": outcome,
        "started_at": None if started_at is None else rfc3339(started_at),
        "ended_at": None if ended_at is None else rfc3339(ended_at),
        # Nothing was sent without a duration.
        "webhook_timestamp": None if kept.duration_s is None else kept.sent_at,
        "duration_s": kept.duration_s,
        "response": response,
        "error": error,
    }
