"""Jobs and batches over HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from hashlib import blake2b
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.representations import JobSummary, job_fields, raw, status_fields, summary_fields
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import hint_for, stored_job
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.fair_turns import FairTurns
from acked_common.http.limits import Client, HeldBytes, Limit, client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse, encode
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, NEW_BATCH_NAME
from acked_common.model.numbers import whole
from acked_common.model.principal import Principal, principal_of
from acked_common.store.ports import JobLists
from acked_common.store.records import Job, JobFilter
from acked_gateway.jobs import operations
from acked_gateway.jobs.commands import MAX_BODY_BYTES, Commands, read_resolution
from acked_gateway.jobs.operations import DEFAULT_PAGE, MAX_PAGE, MAX_PAGE_ASKED

SLICE_BYTES = 32 * 1024
"""Bytes of a page that are encoded before other tasks run; a page may have 1 MiB."""
READS_AT_ONCE = 6
"""Lists and counts that query the store at once: some of its connections, and not all of its processors."""


class Reads:
    """Bounds the lists and counts of each client, and orders them fairly."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._turns: FairTurns[Client] = FairTurns(READS_AT_ONCE)

    @asynccontextmanager
    async def turn(self, client: Client) -> AsyncIterator[None]:
        """Wait until the client may query the store. Raises `ProblemError` if it has too many reads in progress."""
        with self._limit.holding(client):
            async with self._turns.of(client):
                yield


_ID_BYTES = 16
_DIGEST_BYTES = 5


def checked_batch(name: str) -> str:
    """Return a valid name of a batch. Raises the problem `bad-batch`."""
    if BATCH_NAME.fullmatch(name) is None:
        raise ProblemError(problem("bad-batch", "a batch name is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"))
    return name


def checked_new_batch(name: str) -> str:
    """Return a valid name for a new batch. Raise the problem `bad-batch`."""
    if NEW_BATCH_NAME.fullmatch(checked_batch(name)) is None:
        detail = f"clients normalize the path /batches/{name}: name the batch otherwise than '.' or '..'"
        raise ProblemError(problem("bad-batch", detail))
    return name


def job_routes(store: JobLists, commands: Commands, workers: WorkerCache, reads: Reads) -> list[ApiRoute]:
    """Return the routes of jobs and batches."""

    async def list_jobs(request: Request) -> Response:
        query = request.query_params
        reader = principal_of(request.scope)
        job_filter = JobFilter(
            state=_state(query.get("state")),
            kind=query.get("kind") or None,
            batch=query.get("batch") or None,
            tag=query.get("tag") or None,
            tenant=reader.tenant,
        )
        page_size, before = _page_size(query.get("page_size")), _position(query.get("page_token"), job_filter)
        async with reads.turn(client_of(request.scope)):
            page = await store.list_jobs(job_filter, page_size=page_size, before=before)
        token = _token(page.next_before, job_filter) if page.next_before else ""
        listed: operations.JobList = {"jobs": await _summaries(page.jobs, reader), "next_page_token": token}
        return JsonResponse(listed)

    async def get_job(request: Request) -> Response:
        reader = principal_of(request.scope)
        job = await stored_job(store, request.path_params["id"], tenant=reader.tenant)
        return JsonResponse(job_fields(job, reader=reader, hint=await hint_for(job, workers)))

    async def cancel(request: Request) -> Response:
        job = await commands.cancel(request.path_params["id"], tenant=_tenant(request))
        return JsonResponse(status_fields(job, reader=principal_of(request.scope)))

    async def retry(request: Request) -> Response:
        job = await commands.retry(request.path_params["id"], tenant=_tenant(request))
        return JsonResponse(status_fields(job, reader=principal_of(request.scope)))

    async def resolve(request: Request) -> Response:
        held = HeldBytes(request.scope)
        try:
            body = await read_bounded(request, MAX_BODY_BYTES, held)
            resolution = await read_resolution(body, client=client_of(request.scope))
            job = await commands.resolve(request.path_params["id"], resolution, tenant=_tenant(request))
        finally:
            held.release()
        return JsonResponse(status_fields(job, reader=principal_of(request.scope)))

    async def batch(request: Request) -> Response:
        name = checked_batch(request.path_params["batch"])
        async with reads.turn(client_of(request.scope)):
            counted = await store.count_batch(name, tenant=_tenant(request))
        if counted is None:
            raise ProblemError(problem("not-found", f"no job carries the batch name {name!r}"))
        found: operations.Batch = {
            "batch": name,
            "total": sum(counted.states.values()),
            "states": {state: counted.states[state] for state in State if state in counted.states},
            "first_at": rfc3339(counted.first_at),
            "last_at": rfc3339(counted.last_at),
            "duration_s": round((counted.last_at - counted.first_at).total_seconds(), 3),
        }
        return JsonResponse(found)

    return [
        ApiRoute(list_jobs, operations.LIST_JOBS),
        ApiRoute(get_job, operations.GET_JOB),
        ApiRoute(cancel, operations.CANCEL_JOB),
        ApiRoute(retry, operations.RETRY_JOB),
        ApiRoute(resolve, operations.RESOLVE_JOB),
        ApiRoute(batch, operations.GET_BATCH),
    ]


async def _summaries(jobs: Sequence[Job], reader: Principal) -> list[JobSummary]:
    """Encode the jobs of a page one by one; other tasks run between slices of 32 KiB."""
    found: list[JobSummary] = []
    size = 0
    for job in jobs:
        text = encode(summary_fields(job, reader=reader))
        found.append(raw(text))
        size += len(text)
        if size > SLICE_BYTES:
            size = 0
            await asyncio.sleep(0)
    return found


def _tenant(request: Request) -> str:
    return principal_of(request.scope).tenant


def _state(text: str | None) -> State | None:
    if not text:
        return None
    try:
        return State(text)
    except ValueError:
        raise _bad_parameter("state", f"must be one of {', '.join(state.value for state in State)}") from None


def _page_size(text: str | None) -> int:
    if not text:
        return DEFAULT_PAGE
    try:
        asked = whole(text)
    except ValueError:
        asked = -1
    if not 0 <= asked <= MAX_PAGE_ASKED:
        raise _bad_parameter("page_size", f"must be a whole number from 0 to {MAX_PAGE_ASKED:,}, not {text[:40]!r}")
    # A page size beyond the maximum is reduced, never refused (AIP-158).
    return max(1, min(asked, MAX_PAGE))


def _token(before: UUID, job_filter: JobFilter) -> str:
    return _encoded(before.bytes + _filter_digest(job_filter))


def _encoded(position: bytes) -> str:
    return base64.urlsafe_b64encode(position).decode().rstrip("=")


def _filter_digest(job_filter: JobFilter) -> bytes:
    """Digest the filters: a token that continues a list with other filters would skip jobs."""
    given = {name: value for name, value in asdict(job_filter).items() if value is not None}
    return blake2b(msgspec.json.encode(given), digest_size=_DIGEST_BYTES).digest()


def _position(token: str | None, job_filter: JobFilter) -> UUID | None:
    if not token:
        return None
    try:
        position = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        # The decoder skips characters outside the alphabet.
        if _encoded(position) != token:
            raise ValueError(token)
        before, digest = UUID(bytes=position[:_ID_BYTES]), position[_ID_BYTES:]
    except ValueError:
        raise _bad_parameter("page_token", "must be the next_page_token of an earlier answer") from None
    # Gateways of older versions issued tokens without a digest.
    if digest and digest != _filter_digest(job_filter):
        raise _bad_parameter("page_token", "belongs to a list with other filters; send the same ones with it")
    return before


def _bad_parameter(name: str, detail: str) -> ProblemError:
    return ProblemError(
        problem("invalid-field", f"{name} {detail}", errors=[{"pointer": f"?{name}", "detail": detail}])
    )
