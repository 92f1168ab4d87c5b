"""Derive from the route table: the served OpenAPI document, and the path sets of guards and metrics."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from acked_common.api.document import About, make_document
from acked_common.api.operations import GET_DOCUMENT
from acked_common.api.routes import JSON, ApiRoute, Operation


def with_document(routes: Sequence[BaseRoute], about: About) -> list[BaseRoute]:
    """Return the routes with `/openapi.json`, which describes all of them. The document is generated once, here."""

    async def document(_: Request) -> Response:
        return Response(text, media_type=JSON)

    served = [*routes, ApiRoute(document, GET_DOCUMENT)]
    text = msgspec.json.encode(make_document(about, operations_of(served)))
    return served


def operations_of(routes: Sequence[BaseRoute]) -> list[Operation]:
    """Return all operations in route order. OpenAPI does not cover WebSockets."""
    return [operation for route in routes if isinstance(route, ApiRoute) for operation in route.operations]


def changed_by_reading(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """Return the paths whose GET changes state."""
    return frozenset(operation.path for operation in operations_of(routes) if operation.is_change)


def unlimited(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """Return the paths that are exempt from limits."""
    return frozenset(operation.path for operation in operations_of(routes) if not operation.is_limited)


def first_parts(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """Return the first path segments, under which requests are counted: `/jobs` for `/jobs/{id}/cancel`."""
    return frozenset("/" + route.path.split("/")[1] for route in routes if isinstance(route, Route))
