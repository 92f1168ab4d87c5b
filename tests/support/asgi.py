"""Call an ASGI application directly, without a server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The application's response; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Application, method: str, target: str, *chunks: bytes, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request, its body in chunks.

    An exception that the application raises after its response is swallowed, since servers only log it.
    """
    path, _, query = target.partition("?")
    sent = {"host": "localhost", "content-length": str(sum(map(len, chunks))), **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    bodies = iter(chunks or (b"",))
    left = len(chunks or (b"",))
    answered: list[Any] = []

    async def receive() -> Any:
        nonlocal left
        if left == 0:
            await asyncio.Event().wait()
        left -= 1
        return {"type": "http.request", "body": next(bodies), "more_body": left > 0}

    async def send(message: Any) -> None:
        answered.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        if not answered:
            raise
    start, *rest = answered
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )
