"""Bulk actions over HTTP."""

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.list_parameters import page_size, page_token, position
from acked_common.api.routes import ApiRoute
from acked_common.http import fair_thread
from acked_common.http.limits import HeldBytes, client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.bulk_actions import BulkAction
from acked_common.model.ids import parse_id
from acked_common.model.principal import principal_of
from acked_common.store.bulk_actions import BulkStore
from acked_gateway.bulk import operations
from acked_gateway.bulk.body import MAX_BODY_BYTES, Wish, parse_wish
from acked_gateway.bulk.operations import DEFAULT_PAGE, MAX_PAGE
from acked_gateway.bulk.orders import BulkOrders
from acked_gateway.bulk.representations import bulk_fields, preview_fields
from acked_gateway.jobs.routes import Reads


def bulk_routes(store: BulkStore, orders: BulkOrders, reads: Reads) -> list[ApiRoute]:
    """Return the routes of bulk actions."""

    async def start(request: Request) -> Response:
        wish = await _wish(request)
        tenant = _tenant(request)
        # Both count jobs, so they take turns with lists and counts.
        async with reads.turn(client_of(request.scope)):
            if wish.dry_run:
                return JsonResponse(preview_fields(wish.verb, await orders.preview(wish, tenant)))
            action = await orders.order(wish, operator_of(request.scope))
        return JsonResponse(bulk_fields(action), status_code=202)

    async def list_actions(request: Request) -> Response:
        query = request.query_params
        # The list has no filters; a token is valid only for the tenant's own list.
        filters = {"tenant": _tenant(request)}
        size, before = (
            page_size(query.get("page_size"), default=DEFAULT_PAGE, most=MAX_PAGE),
            position(query.get("page_token"), filters),
        )
        async with reads.turn(client_of(request.scope)):
            page = await store.list(_tenant(request), page_size=size, before=before)
        listed: operations.BulkActionList = {
            "bulk_actions": [bulk_fields(action) for action in page.actions],
            "next_page_token": "" if page.next_before is None else page_token(page.next_before, filters),
        }
        return JsonResponse(listed)

    async def actions(request: Request) -> Response:
        return await (start(request) if request.method == "POST" else list_actions(request))

    async def get_action(request: Request) -> Response:
        text = request.path_params["id"]
        action_id = parse_id(text)
        found = None if action_id is None else await store.get(action_id, tenant=_tenant(request))
        return JsonResponse(bulk_fields(_existing(found, text)))

    async def abort(request: Request) -> Response:
        text = request.path_params["id"]
        action_id = parse_id(text)
        found = None if action_id is None else await orders.abort(action_id, operator_of(request.scope))
        return JsonResponse(bulk_fields(_existing(found, text)))

    return [
        ApiRoute(actions, operations.START_BULK_ACTION, operations.LIST_BULK_ACTIONS),
        ApiRoute(get_action, operations.GET_BULK_ACTION),
        ApiRoute(abort, operations.ABORT_BULK_ACTION),
    ]


async def _wish(request: Request) -> Wish:
    held = HeldBytes(request.scope)
    try:
        body = await read_bounded(request, MAX_BODY_BYTES, held)
        return await fair_thread.read(
            client_of(request.scope), len(body), lambda may_scan: parse_wish(body, may_scan=may_scan)
        )
    finally:
        held.release()


def _tenant(request: Request) -> str:
    return principal_of(request.scope).tenant


def _existing(action: BulkAction | None, text: str) -> BulkAction:
    if action is None:
        raise ProblemError(
            problem("not-found", f"no bulk action has the id {text[:64]!r}; GET /bulk-actions lists them")
        )
    return action
