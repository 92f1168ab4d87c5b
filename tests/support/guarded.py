"""An application with the edge's guards, called without a server."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from acked_common.http.cors import Cors
from acked_common.http.edge import Edge
from acked_common.http.request_guards import LOCAL_HOSTS, RequestGuards

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
ACCESS_POINT: Headers = [(b"host", b"127.0.0.1:8080")]
ORIGIN = "https://acked.example"


class App:
    """Respond with 200 to every request, and record that one arrived."""

    def __init__(self, headers: Headers | None = None) -> None:
        self.reached = False
        self.headers = [(b"content-type", b"application/json")] if headers is None else headers
        self.start: Message = {"type": "http.response.start", "status": 200, "headers": self.headers}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.reached = True
        if scope["type"] == "http":
            await send(self.start)
            await send({"type": "http.response.body", "body": b"{}"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})


def guarded(app: Callable[..., Awaitable[None]]) -> Edge:
    """Put guards for `acked.example` and the listed origin in front of an application."""
    guards = RequestGuards(
        allowed_hosts=LOCAL_HOSTS | {"acked.example", "exact.example:8443"},
        allowed_origins=frozenset({ORIGIN}),
        changing_paths=frozenset({"/load-test"}),
    )
    return Edge(app, checks=[guards.check], cors=Cors([ORIGIN]))


async def call(
    headers: Headers,
    *,
    method: str = "GET",
    path: str = "/status/1",
    scope_type: str = "http",
    app: App | None = None,
    extensions: dict[str, Any] | None = None,
) -> tuple[App, list[Message]]:
    """Send one request through the guards; return the application and the messages to the client."""
    app = app or App()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Message = {"type": scope_type, "method": method, "path": path, "headers": headers}
    if extensions is not None:
        scope["extensions"] = extensions
    await guarded(app)(scope, receive, send)
    return app, sent


async def status_of(headers: Headers, method: str = "GET", path: str = "/status/1") -> tuple[int, str]:
    """Return the status, and the problem's name if the request did not reach the application."""
    app, sent = await call(headers, method=method, path=path)
    start, body = sent
    if app.reached:
        return start["status"], ""
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    problem = json.loads(body["body"])
    assert problem["status"] == start["status"]
    assert problem["title"] and problem["detail"]
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])
    return start["status"], problem["type"].removeprefix("/problems/")


LOOPBACK_ORIGIN = "http://localhost:8080"
FOREIGN_ORIGINS = [
    "http://evil.example",
    "null",
    "",
    "http://127.0.0.1:3000",
    LOOPBACK_ORIGIN,
    "http://127.0.0.1:8080/",
    "file://127.0.0.1:8080",
    "https://acked.example:444",
    "http://acked.example",
]
OWN_ORIGINS = ["http://127.0.0.1:8080", "https://127.0.0.1:8080", ORIGIN]
