"""Schedules over HTTP."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.list_parameters import bad_parameter, page_size
from acked_common.api.routes import ApiRoute
from acked_common.http import fair_thread
from acked_common.http.limits import client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.cron import BadCron
from acked_common.model.lifecycle import State
from acked_common.model.names import SCHEDULE_NAME
from acked_common.model.numbers import whole
from acked_common.model.principal import principal_of
from acked_common.model.schedules import MOST_PREVIEWED, Firing, Schedule
from acked_common.runtime.clock import Clock
from acked_common.store.ports import JobReader
from acked_common.store.schedules import ScheduleStore
from acked_gateway.jobs.command_routes import counted_body
from acked_gateway.jobs.routes import Reads
from acked_gateway.kinds.pausing import MAX_BODY_BYTES as MAX_REASON_BYTES
from acked_gateway.kinds.pausing import parse_pause
from acked_gateway.schedules import operations
from acked_gateway.schedules.acts import ScheduleActs, gone_zone
from acked_gateway.schedules.backfills import MAX_BODY_BYTES as MAX_BACKFILL_BYTES
from acked_gateway.schedules.backfills import backfill_fields, parse_backfill
from acked_gateway.schedules.body import MAX_BODY_BYTES, ScheduleWish, parse_schedule
from acked_gateway.schedules.operations import DEFAULT_PAGE, DEFAULT_PREVIEW, MAX_PAGE
from acked_gateway.schedules.representations import (
    details_fields,
    firing_fields,
    firings_of,
    list_fields,
    newest_of,
    preview_fields,
    summary_fields,
)


def schedule_routes(
    store: ScheduleStore, acts: ScheduleActs, jobs: JobReader, reads: Reads, clock: Clock
) -> list[ApiRoute]:
    """Return the routes."""

    async def list_schedules(request: Request) -> Response:
        query = request.query_params
        size = page_size(query.get("page_size"), default=DEFAULT_PAGE, most=MAX_PAGE)
        after = _position(query.get("page_token"))
        async with reads.turn(client_of(request.scope)):
            page = await store.list(_tenant(request), page_size=size, after=after)
            states = await _states(jobs, map(newest_of, page.schedules))
        listed: operations.ScheduleList = {
            "schedules": [summary_fields(schedule, states) for schedule in page.schedules],
            "next_page_token": "" if page.next_after is None else _token(page.next_after),
        }
        return JsonResponse(listed)

    async def put(request: Request) -> Response:
        operator, reader = operator_of(request.scope), principal_of(request.scope)
        async with _definition(request, clock.now()) as wish:
            schedule, is_new = await acts.define(_name(request), wish, operator=operator, reader=reader)
        return JsonResponse(details_fields(schedule), status_code=201 if is_new else 200)

    async def one(request: Request) -> Response:
        if request.method == "PUT":
            return await put(request)
        if request.method == "DELETE":
            return _details(await acts.remove(_name(request), operator=operator_of(request.scope)))
        schedule = await acts.existing(_name(request), tenant=_tenant(request))
        return JsonResponse(details_fields(schedule, await _states(jobs, [newest_of(schedule)])))

    async def pause(request: Request) -> Response:
        reason = parse_pause(await read_bounded(request, MAX_REASON_BYTES))
        return _details(await acts.pause(_name(request), reason, operator=operator_of(request.scope)))

    async def run(request: Request) -> Response:
        firing = await acts.run_now(_name(request), operator=operator_of(request.scope))
        return JsonResponse(firing_fields(firing), status_code=202)

    async def preview(request: Request) -> Response:
        count, client = _count(request.query_params.get("count")), client_of(request.scope)
        schedule, after = await _to_preview(request, acts, clock.now()), clock.now()
        # As a read: a client has a bounded number of these in progress.
        async with reads.turn(client):
            found = await fair_thread.quick.run(client, lambda: _previewed(schedule, after, count))
        return JsonResponse(found)

    async def firings(request: Request) -> Response:
        schedule = await acts.existing(_name(request), tenant=_tenant(request))
        found = firings_of(schedule)
        async with reads.turn(client_of(request.scope)):
            states = await _states(jobs, found)
        return JsonResponse(list_fields(found, states))

    return [
        ApiRoute(list_schedules, operations.LIST_SCHEDULES),
        ApiRoute(one, operations.GET_SCHEDULE, operations.PUT_SCHEDULE, operations.DELETE_SCHEDULE),
        ApiRoute(pause, operations.PAUSE_SCHEDULE),
        ApiRoute(_without_body(acts.resume), operations.RESUME_SCHEDULE),
        ApiRoute(run, operations.RUN_SCHEDULE),
        ApiRoute(_backfill(acts, clock), operations.BACKFILL_SCHEDULE),
        ApiRoute(preview, operations.PREVIEW_SCHEDULE, operations.PREVIEW_DEFINITION),
        ApiRoute(firings, operations.LIST_FIRINGS),
    ]


def _backfill(acts: ScheduleActs, clock: Clock) -> Callable[[Request], Awaitable[Response]]:
    async def view(request: Request) -> Response:
        wish = parse_backfill(await read_bounded(request, MAX_BACKFILL_BYTES), now=clock.now())
        found = await acts.backfill(_name(request), wish, operator=operator_of(request.scope))
        return JsonResponse(backfill_fields(found), status_code=202)

    return view


@asynccontextmanager
async def _definition(request: Request, now: datetime) -> AsyncIterator[ScheduleWish]:
    """Read the definition that a request holds; its bytes count to the client for as long as the block lasts."""
    async with counted_body(request, MAX_BODY_BYTES) as body:
        yield await fair_thread.read(
            client_of(request.scope), len(body), lambda may_scan: parse_schedule(body, now=now, may_scan=may_scan)
        )


async def _states(jobs: JobReader, firings: Iterable[Firing | None]) -> dict[UUID, State]:
    """Return the states of the firings' jobs; those that were deleted are left out. One read at most."""
    ids = [firing.job for firing in firings if firing is not None and firing.job is not None]
    return {job_id: revision.state for job_id, revision in (await jobs.revisions(ids)).items()} if ids else {}


async def _to_preview(request: Request, acts: ScheduleActs, now: datetime) -> Schedule:
    """Return the stored schedule, and for a POST the one that its definition would make."""
    if request.method != "POST":
        return await acts.existing(_name(request), tenant=_tenant(request))
    async with _definition(request, now) as wish:
        return await acts.drafted(_name(request), wish, reader=principal_of(request.scope))


def _without_body(act: Callable[..., Awaitable[Schedule]]) -> Callable[[Request], Awaitable[Response]]:
    async def view(request: Request) -> Response:
        return _details(await act(_name(request), operator=operator_of(request.scope)))

    return view


def _details(schedule: Schedule) -> Response:
    return JsonResponse(details_fields(schedule))


def _previewed(schedule: Schedule, after: datetime, count: int) -> operations.SchedulePreview:
    try:
        return preview_fields(schedule, after=after, count=count)
    except BadCron as error:
        raise gone_zone(error) from None


def _tenant(request: Request) -> str:
    return principal_of(request.scope).tenant


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _count(text: str | None) -> int:
    if not text:
        return DEFAULT_PREVIEW
    try:
        count = whole(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_PREVIEWED:
        detail = f"count must be a whole number from 1 to {MOST_PREVIEWED:,}, not {text[:40]!r}"
        raise ProblemError(problem("bad-count", detail))
    return count


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _position(token: str | None) -> str | None:
    if not token:
        return None
    try:
        name = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        name = ""
    if SCHEDULE_NAME.fullmatch(name) is None or _token(name) != token:
        raise bad_parameter("page_token", "must be the next_page_token of an earlier response")
    return name
