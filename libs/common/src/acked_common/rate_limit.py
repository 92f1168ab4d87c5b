"""Refuses who asks too often: one rate for each client, in front of all routes and behind the check of who it is.

Each process counts for itself. Who needs no token is not counted: there is nobody to tell from others.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from acked_common.guards import API_ANSWER
from acked_common.principal import LOCAL, principal_of
from acked_common.problems import MEDIA_TYPE, problem
from acked_common.rate import Rate, retry_after_s

Application = Callable[[Any, Any, Any], Awaitable[None]]


class RateLimit:
    """ASGI middleware. `free` are paths that anybody may call at any time. `on_refused` is told of each HTTP request
    that is refused, with the status of the answer."""

    def __init__(
        self, app: Application, *, rate: Rate, free: frozenset[str], on_refused: Callable[[Any, int], object]
    ) -> None:
        self._app = app
        self._rate = rate
        self._free = free
        self._on_refused = on_refused
        self._policy = (b"ratelimit-policy", rate.policy)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (
            scope["type"] == "lifespan"
            or (principal := principal_of(scope)) is LOCAL
            or (scope["type"] == "http" and scope["path"] in self._free)
        ):
            await self._app(scope, receive, send)
            return
        taken = self._rate.take((principal.tenant, principal.client), time.monotonic())
        told = [self._policy, (b"ratelimit", self._rate.header(taken))]
        if taken < 0:
            await self._refuse(scope, receive, send, taken, told)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        def send_told(message: Any) -> Any:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            return send(message)

        await self._app(scope, receive, send_told)

    async def _refuse(self, scope: Any, receive: Any, send: Any, taken: float, told: list[tuple[bytes, bytes]]) -> None:
        prefix = "http"
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in (scope.get("extensions") or ()):
                await send({"type": "websocket.close", "code": 1008, "reason": "rate-limited"})
                return
            prefix = "websocket.http"
        else:
            self._on_refused(scope, 429)
        found = problem(
            "rate-limited",
            "this client has sent more requests than its rate allows",
            headers={"Retry-After": str(retry_after_s(taken))},
        )
        body = found.to_bytes()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in found.headers.items()),
            *told,
        ]
        if prefix != "http":
            # What the guards add to answers of HTTP.
            headers += API_ANSWER
        await send({"type": f"{prefix}.response.start", "status": found.status, "headers": headers})
        await send({"type": f"{prefix}.response.body", "body": body})
