"""Callbacks over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api import list_parameters
from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import stored_job
from acked_common.http.limits import client_of
from acked_common.http.responses import JsonResponse
from acked_common.model.callbacks import CALLBACK_KIND, tag_of
from acked_common.model.principal import principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.records import Job, JobFilter
from acked_gateway.callbacks import operations
from acked_gateway.callbacks.deliveries import DeliveryStore, Resends, delivery_fields
from acked_gateway.callbacks.operations import DEFAULT_DELIVERIES, MAX_DELIVERIES
from acked_gateway.callbacks.secrets import Signing
from acked_gateway.jobs.filters import STATE, read_filter
from acked_gateway.jobs.routes import Reads


def callback_routes(
    store: DeliveryStore, resends: Resends, signing: Signing, reads: Reads, clock: Clock
) -> list[ApiRoute]:
    """Return the routes."""

    async def list_deliveries(request: Request) -> Response:
        query, tenant = request.query_params, principal_of(request.scope).tenant
        size = list_parameters.page_size(query.get("page_size"), default=DEFAULT_DELIVERIES, most=MAX_DELIVERIES)
        async with reads.turn(client_of(request.scope)):
            job = await stored_job(store, request.path_params["id"], tenant=tenant)
            filters = {"job": str(job.id), "tenant": tenant}
            before = list_parameters.position(query.get("page_token"), filters)
            wanted = JobFilter(kind=CALLBACK_KIND, tag=tag_of(job.id), tenant=tenant)
            page = await store.list_jobs(wanted, page_size=size, before=before)
            whole = await store.get_many([one.id for one in page.jobs])
        # Deliveries of one event have nearly equal ids, whatever their order.
        newest_first = sorted(whole.values(), key=lambda one: (one.accepted_at, one.id), reverse=True)
        return JsonResponse(_page(newest_first, page.next_before, filters))

    async def list_all(request: Request) -> Response:
        query, tenant = request.query_params, principal_of(request.scope).tenant
        size = list_parameters.page_size(query.get("page_size"), default=DEFAULT_DELIVERIES, most=MAX_DELIVERIES)
        given = read_filter({STATE: query.get(STATE, "")}, tenant=tenant, now=clock.now())
        filters = {"tenant": tenant, STATE: given.state}
        before = list_parameters.position(query.get("page_token"), filters)
        async with reads.turn(client_of(request.scope)):
            page = await store.list_jobs(replace(given, kind=CALLBACK_KIND), page_size=size, before=before)
            whole = await store.get_many([one.id for one in page.jobs])
        newest_first = [whole[one.id] for one in page.jobs if one.id in whole]
        return JsonResponse(_page(newest_first, page.next_before, filters))

    async def resend(request: Request) -> Response:
        path = request.path_params
        resent = await resends.resend(path["id"], path["delivery"], operator=operator_of(request.scope))
        return JsonResponse(resent, status_code=202)

    async def secrets(request: Request) -> Response:
        if request.method == "POST":
            return JsonResponse(await signing.make(operator=operator_of(request.scope)), status_code=201)
        return JsonResponse(await signing.list(principal_of(request.scope).tenant))

    async def end_secret(request: Request) -> Response:
        return JsonResponse(await signing.end(request.path_params["secret"], operator=operator_of(request.scope)))

    return [
        ApiRoute(list_deliveries, operations.LIST_DELIVERIES),
        ApiRoute(list_all, operations.LIST_ALL_DELIVERIES),
        ApiRoute(resend, operations.RESEND),
        ApiRoute(secrets, operations.LIST_SECRETS, operations.MAKE_SECRET),
        ApiRoute(end_secret, operations.END_SECRET),
    ]


def _page(jobs: Sequence[Job], next_before: UUID | None, filters: Mapping[str, Any]) -> operations.DeliveryPage:
    """Return the deliveries of these jobs; one whose payload was erased is left out."""
    return {
        "deliveries": [fields for one in jobs if (fields := delivery_fields(one)) is not None],
        "next_page_token": list_parameters.page_token(next_before, filters) if next_before else "",
    }
