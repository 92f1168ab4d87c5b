"""What a service reads off its own route table: the document that it serves, what its guards and counters must know."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from acked_common.api.document import About, make_document
from acked_common.api.operations import GET_DOCUMENT
from acked_common.api.routes import JSON, ApiRoute, Operation


def with_document(routes: Sequence[BaseRoute], about: About) -> list[BaseRoute]:
    """The routes and `/openapi.json`, which describes all of them; it is made once, here."""

    async def document(_: Request) -> Response:
        return Response(text, media_type=JSON)

    served = [*routes, ApiRoute(document, GET_DOCUMENT)]
    text = msgspec.json.encode(make_document(about, operations_of(served)))
    return served


def operations_of(routes: Sequence[BaseRoute]) -> list[Operation]:
    """What is described, in the order of the routes. WebSockets are no part of OpenAPI."""
    return [operation for route in routes if isinstance(route, ApiRoute) for operation in route.operations]


def changed_by_reading(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """Paths whose GET changes something."""
    return frozenset(operation.path for operation in operations_of(routes) if operation.is_change)


def unlimited(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """Paths that anybody may call at any time."""
    return frozenset(operation.path for operation in operations_of(routes) if not operation.is_limited)


def first_parts(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """`/jobs` for `/jobs/{id}/cancel`: what requests are counted under."""
    return frozenset("/" + route.path.split("/")[1] for route in routes if isinstance(route, Route))
