"""Serve one address to people and programs: a browser gets the page, everything else the representation.

The page is chosen ahead of authentication and input checks. So every address has the same page for everyone, and the
page's own requests get the problems, such as those of a mistyped parameter.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from acked_common.api.routes import ApiRoute
from acked_common.http.problems import ProblemError
from acked_common.http.request_source import VARY_BY_PAGE, asks_for_page
from acked_common.http.responses import ProblemResponse

Page = Callable[[Request], Response]
"""Returns the page for a request; it must not depend on data that needs a permission."""

App = Callable[[Any, Any, Any], Awaitable[None]]


def serve_pages(routes: Sequence[BaseRoute], page: Page) -> None:
    """Wrap each route that has a page; call it when the routes are authenticated already."""
    for route in routes:
        if isinstance(route, ApiRoute) and any(operation.has_page for operation in route.operations):
            route.app = _Negotiated(route.app, page)


class _Negotiated:
    """One route with both forms."""

    def __init__(self, app: App, page: Page) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_vary(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(VARY_BY_PAGE)
            await send(message)

        app: App = self._page(Request(scope)) if asks_for_page(scope) else self._app
        try:
            await app(scope, receive, send_with_vary)
        except ProblemError as error:
            # The authenticator raises ahead of the route. The handlers of the application would leave the header out.
            await ProblemResponse(error.problem)(scope, receive, send_with_vary)
