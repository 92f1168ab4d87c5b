"""Serve health and metrics on connections beyond the limit, so that a busy process does not look dead."""

from collections.abc import Callable
from typing import Any

from acked_common.http.cors import Cors
from acked_common.http.probes import as_probe
from acked_common.http.problems import Problem, problem
from acked_common.http.server.connection_watch import connections_closed
from acked_common.http.server.error_response import answer_headers

ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that get a response also when there are too many connections, on one of those that are reserved."""


def _answering(found: Problem, cors: Cors | None) -> Any:
    """Make an ASGI application that responds with the problem."""

    async def answer(scope: Any, _receive: Any, send: Callable[[Any], Any]) -> None:
        body = found.to_bytes()
        headers = answer_headers(found, body, () if cors is None else cors.headers(scope["headers"]))
        await send({"type": "http.response.start", "status": found.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def only_health(app: Any, cors: Cors | None = None) -> Any:
    """Make the application of a connection beyond the limit: it serves `ALWAYS_ANSWERED` and refuses all else."""
    refusal = _answering(problem("busy", "this process has reached its limit of connections; nothing was stored"), cors)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        if scope["method"] == "OPTIONS":
            scope = as_probe(scope)
        if scope["path"] in ALWAYS_ANSWERED:
            await app(scope, receive, send_last)
        else:
            connections_closed.labels("busy").inc()
            await refusal(scope, receive, send)

    return answer
