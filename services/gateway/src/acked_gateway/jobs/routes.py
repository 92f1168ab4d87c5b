"""Jobs and batches over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api import list_parameters
from acked_common.api.callback_state import callback_of
from acked_common.api.hints import Hints
from acked_common.api.list_parameters import page_size, position
from acked_common.api.representations import JobSummary, job_fields, raw, summary_fields
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import stored_job
from acked_common.http.fair_turns import FairTurns
from acked_common.http.limits import Client, Limit, client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import JsonResponse, encode
from acked_common.model.ids import instant_of
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, NEW_BATCH_NAME
from acked_common.model.principal import Principal, principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.ledgers import LedgerReader
from acked_common.store.load_tests import LoadTestStore
from acked_common.store.ports import JobLists
from acked_common.store.records import BatchSummary, Job
from acked_gateway.jobs import operations, page_token
from acked_gateway.jobs.filters import read_filter
from acked_gateway.jobs.operations import DEFAULT_BATCHES, DEFAULT_PAGE, MAX_BATCHES, MAX_PAGE
from acked_gateway.jobs.page_token import read_token, token_of

SLICE_BYTES = 32 * 1024
"""Bytes of a page that are encoded before other tasks run; a page may have 1 MiB."""
READS_AT_ONCE = 6
"""Concurrent lists and counts on MongoDB, which must not take all of its connections and processors."""


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


def checked_batch(name: str) -> str:
    """Return a valid name of a batch. Raises the problem `bad-batch`."""
    if BATCH_NAME.fullmatch(name) is None:
        raise ProblemError(problem("bad-batch", "a batch name is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"))
    return name


def checked_new_batch(name: str) -> str:
    """Return a valid name for a new batch. Raises the problem `bad-batch`."""
    if NEW_BATCH_NAME.fullmatch(checked_batch(name)) is None:
        detail = f"clients normalize the path /batches/{name}: name the batch otherwise than '.' or '..'"
        raise ProblemError(problem("bad-batch", detail))
    return name


def no_such_batch(name: str) -> ProblemError:
    """Return the problem of a batch name that no job has."""
    return ProblemError(problem("not-found", f"no job has the batch name {name!r}"))


def job_routes(
    store: JobLists, hints: Hints, reads: Reads, clock: Clock, load_tests: LoadTestStore, ledgers: LedgerReader
) -> list[ApiRoute]:
    """Return the routes that read jobs and batches."""

    async def list_jobs(request: Request) -> Response:
        query = request.query_params
        reader = principal_of(request.scope)
        job_filter = read_filter(query, tenant=reader.tenant, now=clock.now())
        size = page_size(query.get("page_size"), default=DEFAULT_PAGE, most=MAX_PAGE)
        before, job_filter = read_token(query.get(page_token.PARAMETER), query, job_filter)
        async with reads.turn(client_of(request.scope)):
            page = await store.list_jobs(job_filter, page_size=size, before=before)
        token = token_of(page.next_before, query, job_filter) if page.next_before else ""
        listed: operations.JobList = {"jobs": await _summaries(page.jobs, reader), "next_page_token": token}
        return JsonResponse(listed)

    async def get_job(request: Request) -> Response:
        reader = principal_of(request.scope)
        job = await stored_job(store, request.path_params["id"], tenant=reader.tenant)
        found = await hints.of(job, reader)
        # A job that never began and was sent no signal has no ledger.
        has_none = not job.attempt and not job.signals
        ledger = None if has_none else await ledgers.read_summary(job.id, tenant=job.tenant)
        hint, callback = None if found is None else found.hint, await callback_of(store, job)
        return JsonResponse(job_fields(job, reader=reader, hint=hint, ledger=ledger, callback=callback))

    async def list_batches(request: Request) -> Response:
        query, tenant = request.query_params, _tenant(request)
        # The list has no filters; a token is valid only for the tenant's own list.
        filters = {"tenant": tenant}
        size = page_size(query.get("page_size"), default=DEFAULT_BATCHES, most=MAX_BATCHES)
        before = position(query.get("page_token"), filters)
        async with reads.turn(client_of(request.scope)):
            page = await store.list_batches(tenant, page_size=size, before=before)
        listed: operations.BatchList = {
            "batches": [_listed(one) for one in page.batches],
            "next_page_token": ""
            if page.next_before is None
            else list_parameters.page_token(page.next_before, filters),
        }
        return JsonResponse(listed)

    async def batch(request: Request) -> Response:
        name = checked_batch(request.path_params["batch"])
        async with reads.turn(client_of(request.scope)):
            counted = await store.count_batch(name, tenant=_tenant(request))
            figures = None if counted is None else await load_tests.find(name, tenant=_tenant(request))
        if counted is None:
            raise no_such_batch(name)
        found: operations.Batch = {
            "batch": name,
            "total": sum(counted.states.values()),
            "total_is_exact": counted.is_exact,
            "states": {state: counted.states[state] for state in State if state in counted.states},
            "first_at": rfc3339(counted.first_at),
            "last_at": rfc3339(counted.last_at),
            "duration_s": round((counted.last_at - counted.first_at).total_seconds(), 3),
        }
        if figures is not None:
            found["load_test"] = raw(figures.figures)
        return JsonResponse(found)

    return [
        ApiRoute(list_jobs, operations.LIST_JOBS),
        ApiRoute(get_job, operations.GET_JOB),
        ApiRoute(list_batches, operations.LIST_BATCHES),
        ApiRoute(batch, operations.GET_BATCH),
    ]


def _listed(batch: BatchSummary) -> operations.ListedBatch:
    return {
        "batch": batch.name,
        "newest_at": rfc3339(instant_of(batch.newest_id)),
        "total": sum(batch.states.values()),
        "total_is_exact": batch.is_exact,
        "states": {state: batch.states[state] for state in State if state in batch.states},
    }


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
