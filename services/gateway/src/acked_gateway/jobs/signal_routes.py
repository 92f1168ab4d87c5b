"""Signals and durable calls of one job over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api import list_parameters
from acked_common.api.representations import raw, step_state
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import stored_job
from acked_common.http.idempotency_key import key_in
from acked_common.http.limits import client_of
from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339
from acked_common.model.ledger import MAX_SIGNAL_BYTES, LedgerEntry, Signal
from acked_common.model.principal import principal_of
from acked_common.store.ledgers import LedgerReader
from acked_common.store.ports import JobReader
from acked_gateway.jobs import signal_operations as operations
from acked_gateway.jobs.command_routes import counted_body
from acked_gateway.jobs.routes import Reads
from acked_gateway.jobs.signal_operations import (
    CALLS_SEARCHED,
    DEFAULT_STEPS,
    MAX_STEPS,
    NEWEST,
    OLDEST,
    ORDER,
    TAKEN_SHOWN,
)
from acked_gateway.jobs.signals import SignalRequest, Signals, checked_name, read_value, taken_signal


def signal_routes(signals: Signals, store: JobReader, ledgers: LedgerReader, reads: Reads) -> list[ApiRoute]:
    """Return the routes."""

    async def send(request: Request) -> Response:
        name = checked_name(request.path_params["name"])
        signal_id = key_in(request.scope["headers"])
        async with counted_body(request, MAX_SIGNAL_BYTES) as body:
            value = await read_value(body, client=client_of(request.scope))
            sent = await signals.send(
                request.path_params["id"], SignalRequest(name, value, signal_id), sender=principal_of(request.scope)
            )
        fields: operations.SentSignal = {"id": sent.id, "job": str(sent.job_id), "name": sent.name, "seq": sent.seq}
        if sent.is_repeated:
            return JsonResponse(fields, headers={"Idempotency-Replayed": "true"})
        return JsonResponse(fields, status_code=202)

    async def list_signals(request: Request) -> Response:
        tenant = principal_of(request.scope).tenant
        async with reads.turn(client_of(request.scope)):
            job = await stored_job(store, request.path_params["id"], tenant=tenant)
            inbox = await ledgers.read_unread(job.id, tenant=tenant)
            newest = await ledgers.read_newest(job.id, tenant=tenant, limit=CALLS_SEARCHED)
        listed: operations.SignalList = {
            "received": 0 if inbox is None else inbox.in_seq,
            "unread": [] if inbox is None else [_unread(signal) for signal in inbox.signals],
            "taken": _taken(newest or ()),
        }
        return JsonResponse(listed)

    async def list_steps(request: Request) -> Response:
        tenant = principal_of(request.scope).tenant
        size = list_parameters.page_size(request.query_params.get("page_size"), default=DEFAULT_STEPS, most=MAX_STEPS)
        async with reads.turn(client_of(request.scope)):
            job = await stored_job(store, request.path_params["id"], tenant=tenant)
            newest_first = checked_order(request.query_params.get(ORDER))
            # A token of the other order would skip calls. One of the usual order is as it was before there were two.
            filters = {"job": str(job.id), "tenant": tenant} | ({ORDER: NEWEST} if newest_first else {})
            after = list_parameters.position(request.query_params.get("page_token"), filters)
            page = await ledgers.read_entries(
                job.id, tenant=tenant, after=0 if after is None else after.int, limit=size, newest_first=newest_first
            )
        entries = () if page is None else page.entries
        is_longer = page is not None and not page.is_last and bool(entries)
        listed: operations.StepList = {
            "steps": [step_fields(one, page.ended_early.get(one.seq)) for one in entries] if page is not None else [],
            "next_page_token": list_parameters.page_token(UUID(int=entries[-1].seq), filters) if is_longer else "",
        }
        return JsonResponse(listed)

    return [
        ApiRoute(send, operations.SEND_SIGNAL),
        ApiRoute(list_signals, operations.LIST_SIGNALS),
        ApiRoute(list_steps, operations.LIST_STEPS),
    ]


def checked_order(text: str | None) -> bool:
    """Return whether a list begins with the newest call. Raise the problem `invalid-field`."""
    if text in (None, "", OLDEST):
        return False
    if text != NEWEST:
        detail = f"must be {OLDEST} or {NEWEST}"
        errors: list[ErrorAt] = [{"pointer": f"?{ORDER}", "detail": detail}]
        raise ProblemError(problem("invalid-field", f"{ORDER} {detail}", errors=errors))
    return True


def _unread(signal: Signal) -> operations.UnreadSignal:
    return {"id": signal.id, "name": signal.name, "seq": signal.seq, "at": rfc3339(signal.at), "by": signal.by}


def _taken(newest: Sequence[LedgerEntry]) -> list[operations.TakenSignal]:
    found: list[operations.TakenSignal] = []
    for entry in newest:
        signal = taken_signal(entry.value) if entry.call in ("wait", "first") and not entry.is_open else None
        if signal is not None and len(found) < TAKEN_SHOWN:
            found.append({**_unread(signal), "taken_at": rfc3339(entry.at), "taken_by": entry.name})
    return found


def step_fields(entry: LedgerEntry, ended_early_at: datetime | None = None) -> operations.KeptStep:
    """Return a durable call for a reader, without its value."""
    fields: operations.KeptStep = {
        "seq": entry.seq,
        "name": entry.name,
        "key": raw(None if entry.key is None else entry.key.encode()),
        "call": entry.call,
        "state": step_state(entry),
        "at": rfc3339(entry.at),
        "took_s": round(entry.took_s, 3),
        "attempt": entry.attempt,
        "tries": entry.tries,
        "due_at": None if entry.due_at is None else rfc3339(entry.due_at),
    }
    if entry.error is not None:
        fields["error"] = {"type": entry.error.type, "message": entry.error.message}
    if ended_early_at is not None:
        fields["ended_early_at"] = rfc3339(ended_early_at)
    return fields
