"""The calls of operators: kinds, workers, notes on errors, the audit, tokens, and a probe of each service. Pure."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import msgspec

from acked_client.core import json_text
from acked_client.core.effects import Flow, Lost, Request, Response, Send
from acked_client.core.exchange import Session, fetch, locate_intake
from acked_client.core.failures import error_of
from acked_client.core.jobs import path_of
from acked_client.core.lists import Pages
from acked_client.model.errors import AckedError
from acked_client.model.lists import AttentionNotes, BulkStatus, Kind
from acked_client.model.operating import (
    AuditEntry,
    Draining,
    JobDetails,
    KindDetails,
    ListedBatch,
    Probe,
    Readiness,
    Signals,
    Tokens,
    Worker,
)
from acked_client.model.requests import AuditFilter

_PROBE_S = 10.0
GATEWAY = "gateway"
INTAKE = "intake"


class _Workers(msgspec.Struct):
    workers: list[Worker]


class _Info(msgspec.Struct):
    version: str


class _ApiDocument(msgspec.Struct):
    info: _Info


def workers(session: Session) -> Flow[list[Worker]]:
    """Return the live workers."""
    return (yield from fetch(session, Request("GET", "/workers"), _Workers)).workers


def drain(session: Session, worker: str) -> Flow[Draining]:
    """Ask a worker to leave. A second request has no effect."""
    return (yield from fetch(session, Request("POST", f"/workers/{quote(worker, safe='')}/drain"), Draining))


def kind(session: Session, name: str) -> Flow[KindDetails]:
    """Return one kind with its workers and counts."""
    return (yield from fetch(session, Request("GET", _kind_path(name)), KindDetails))


def change_kind(session: Session, name: str, verb: str, **members: Any) -> Flow[Kind]:
    """Pause, resume, limit or unlimit a kind. The same request has the same effect once and twice."""
    fields = {member: value for member, value in members.items() if value is not None}
    body = json_text.encode(fields) if fields else None
    return (yield from fetch(session, Request("POST", f"{_kind_path(name)}/{verb}", body=body), Kind))


def note_attention(session: Session, group: str, members: Mapping[str, Any]) -> Flow[AttentionNotes]:
    """Change the notes on a group of errors; members that are `UNSET` stay. Raise `ValueError` if all are."""
    fields = {name: value for name, value in members.items() if value is not msgspec.UNSET}
    if not fields:
        raise ValueError(f"nothing would change: pass {', '.join(members)}, or some of them")
    request = Request("POST", f"/attention/{quote(group, safe='')}", body=json_text.encode(fields))
    return (yield from fetch(session, request, AttentionNotes))


def audit(session: Session, where: AuditFilter | None, page_size: int) -> Pages[AuditEntry]:
    """Return the pages of the audit, newest first."""
    query = {} if where is None else where.members()
    return Pages(session, "/audit", query | {"page_size": str(page_size)}, "entries", AuditEntry)


def batches(session: Session) -> Pages[ListedBatch]:
    """Return the pages of the batches, newest first."""
    return Pages(session, "/batches", {"page_size": "50"}, "batches", ListedBatch)


def bulk_actions(session: Session) -> Pages[BulkStatus]:
    """Return the pages of the bulk actions, newest first."""
    return Pages(session, "/bulk-actions", {}, "bulk_actions", BulkStatus)


def tokens(session: Session) -> Flow[Tokens]:
    """Return what the own token allows, and the active tokens of its tenant."""
    return (yield from fetch(session, Request("GET", "/tokens"), Tokens))


def details(session: Session, job_id: str) -> Flow[JobDetails]:
    """Return the status of a job with its payload."""
    return (yield from fetch(session, Request("GET", path_of(job_id)), JobDetails))


def signals(session: Session, job_id: str) -> Flow[Signals]:
    """Return the signals of a job, without their values."""
    return (yield from fetch(session, Request("GET", path_of(job_id, "signals")), Signals))


def probe(session: Session) -> Flow[list[Probe]]:
    """Look at the gateway and at intake once, without repetitions. Raise nothing: a failure is part of the result."""
    found = [(yield from _look(session.gateway, GATEWAY))]
    try:
        address = yield from locate_intake(session)
    except AckedError as error:
        return [*found, _failed(INTAKE, "", f"its address is not known: {error}", 0.0)]
    return [*found, (yield from _look(address, INTAKE))]


def _look(address: str, service: str) -> Flow[Probe]:
    done = yield Send(address, Request("GET", "/readyz"), _PROBE_S)
    response = done.outcome
    if isinstance(response, Lost):
        return _failed(service, address, response.reason, done.took_s)
    assert isinstance(response, Response)  # noqa: S101 - for the type checker
    try:
        readiness = msgspec.json.decode(response.body, type=Readiness)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _failed(service, address, str(error_of(response, where="GET /readyz")), done.took_s)
    described = (yield Send(address, Request("GET", "/openapi.json"), _PROBE_S)).outcome
    return Probe(
        service=service,
        url=address,
        failure=None,
        readiness=readiness,
        version=_version(described),
        server_at=_date(response),
        took_s=done.took_s,
    )


def _failed(service: str, url: str, failure: str, took_s: float) -> Probe:
    return Probe(service=service, url=url, failure=failure, readiness=None, version=None, server_at=None, took_s=took_s)


def _version(outcome: object) -> str | None:
    if not isinstance(outcome, Response) or outcome.status != 200:
        return None
    try:
        return msgspec.json.decode(outcome.body, type=_ApiDocument).info.version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _date(response: Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers.get("date", ""))
    except (TypeError, ValueError):
        return None


def _kind_path(name: str) -> str:
    return f"/kinds/{quote(name, safe='')}"
