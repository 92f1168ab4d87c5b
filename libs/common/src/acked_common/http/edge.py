"""The single middleware between server and routes: checks, limits, response headers and metrics.

One layer per concern would cost more than the concerns themselves.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request

from acked_common.http.cors import Cors
from acked_common.http.exception_handlers import fault_response
from acked_common.http.limits import BYTES_KEY, Limits, client_of
from acked_common.http.probes import as_probe
from acked_common.http.problems import Problem, ProblemError
from acked_common.http.request_guards import API_ANSWER, Message, guarded_headers
from acked_common.http.responses import ProblemResponse

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Check = Callable[[Message], Iterable[tuple[bytes, bytes]] | None]
"""Check the scope of a request or WebSocket, and possibly store something in it.

Return headers to add to the response; raise `ProblemError` to reject the request.
"""

_CLOSED_BY_POLICY = 1008
_STATUS = "/status/"
"""Path prefix that may use the reserve when all requests run as one client."""


class Edge:
    """An ASGI application in front of another.

    `checks` run in order. `hot` maps exact paths to ASGI endpoints that bypass the router and its layers, and handle
    every
    method themselves. `count` is called with the status of each HTTP response and when its request began, by
    `time.perf_counter`. `cors` is None unless an origin is listed.
    """

    def __init__(
        self,
        app: App,
        *,
        checks: Sequence[Check],
        hot: Mapping[str, App] | None = None,
        count: Callable[[Message, int, float], object] = lambda scope, status, began: None,
        cors: Cors | None = None,
        limits: Limits | None = None,
        free: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._cors = cors
        self._checks = checks
        self._hot = hot or {}
        self._count = count
        self._limits = limits
        self._free = free

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:  # noqa: C901 - one path, for speed
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        if kind == "http" and scope["method"] == "OPTIONS":
            scope = as_probe(scope)
        added: list[tuple[bytes, bytes]] = []
        if self._cors is not None and kind == "http":
            added += self._cors.headers(scope["headers"])
        try:
            for check in self._checks:
                if told := check(scope):
                    added += told
        except ProblemError as error:
            await self._refuse(error.problem, scope, receive, send, added, began)
            return
        if kind != "http":
            await self._app(scope, receive, send)
            return
        if self._cors is not None and (told := self._cors.preflight(scope)):
            self._count(scope, 204, began)
            await send({"type": "http.response.start", "status": 204, "headers": [*told]})
            await send({"type": "http.response.body", "body": b""})
            return
        path: str = scope["path"]
        endpoint, limits = self._hot.get(path), self._limits
        client, ledger = None, None
        if limits is not None and (endpoint is not None or path not in self._free):
            client, ledger = client_of(scope), limits.requests.ledger
            full = ledger.take(client, reserved=endpoint is None and path.startswith(_STATUS))
            if full is not None:
                refusal = limits.requests.refusal(client, full).problem
                await self._refuse(refusal, scope, receive, send, added, began)
                return
            scope[BYTES_KEY] = limits.bytes
        has_begun = False

        def send_noted(message: Message) -> Any:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._count(scope, message["status"], began)
                message = {**message, "headers": [*guarded_headers(message.get("headers", ())), *added]}
            return send(message)

        try:
            if endpoint is None:
                await self._app(scope, receive, send_noted)
            else:
                await endpoint(scope, receive, send_noted)
        except ProblemError as error:
            if endpoint is None:
                raise
            await ProblemResponse(error.problem)(scope, receive, send_noted)
        except Exception as error:
            if endpoint is not None and not has_begun:
                await fault_response(Request(scope), error)(scope, receive, send_noted)
            raise
        finally:
            if ledger is not None:
                ledger.give_back(client)

    async def _refuse(
        self,
        found: Problem,
        scope: Message,
        receive: Receive,
        send: Send,
        added: list[tuple[bytes, bytes]],
        began: float,
    ) -> None:
        prefix = "http"
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in (scope.get("extensions") or ()):
                await send({"type": "websocket.close", "code": _CLOSED_BY_POLICY, "reason": found.name})
                return
            prefix = "websocket.http"
        else:
            self._count(scope, found.status, began)
        body = found.to_bytes()
        headers = [*found.raw_headers(body), *API_ANSWER, *added]
        await send({"type": f"{prefix}.response.start", "status": found.status, "headers": headers})
        await send({"type": f"{prefix}.response.body", "body": body})
