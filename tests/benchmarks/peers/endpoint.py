"""The endpoint of every peer: the same request and the same answer as ours, on the same server."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Submit = Callable[[str, dict], Awaitable[str]]
"""Hands a kind and its payload to the peer; answers the id."""


def answer(job_id: str, kind: str) -> Response:
    """202, as ours."""
    at = time.time()
    accepted_at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03}Z"
    body = {
        "id": job_id,
        "state": "queued",
        "kind": kind,
        "accepted_at": accepted_at,
        "links": {"status": f"/status/{job_id}", "feed": "ws://localhost:8080/ws/feed"},
    }
    headers = {"Location": f"/status/{job_id}", "Retry-After": "1"}
    return Response(json.dumps(body), 202, headers, "application/json")


def application(submit: Submit, lifespan: Callable[..., AbstractAsyncContextManager[None]] | None = None) -> Starlette:
    """`POST /process`."""

    async def process(request: Request) -> Response:
        asked = json.loads(await request.body())
        return answer(await submit(asked["kind"], asked.get("payload") or {}), asked["kind"])

    return Starlette(routes=[Route("/process", process, methods=["POST"])], lifespan=lifespan)


def serve(app: Starlette, port: int) -> None:
    """As ours is served: uvloop, httptools, no access log."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run()


def new_id() -> str:
    """An id for what keeps nothing."""
    return str(uuid.uuid4())
