"""The load test over HTTP: figures for programs, a page for browsers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.routes import ApiRoute, asks_for_page
from acked_common.kind_table import KindTable, unknown_kind
from acked_common.principal import principal_of
from acked_common.problems import ProblemError, problem
from acked_common.web import JsonResponse
from acked_gateway import api
from acked_gateway.api import DEFAULT_COUNT, Latency, LoadTestAnswer
from acked_gateway.job_routes import checked_batch
from acked_gateway.load_test import MAX_CALLS, LoadTester, LoadTestResult
from acked_gateway.pages import load_page


def load_test_routes(
    tester: LoadTester, kinds: KindTable, stopping: asyncio.Event, public_intake_url: str
) -> list[ApiRoute]:
    """The routes."""

    def page(name: str) -> Response:
        body, media_type = load_page(name, intake_url=public_intake_url)
        return Response(body, media_type=media_type)

    async def index(_: Request) -> Response:
        return page("index.html")

    async def asset(request: Request) -> Response:
        try:
            return page(request.path_params["name"])
        except KeyError:
            raise ProblemError(problem("not-found", "no page has this name")) from None

    async def load_test(request: Request) -> Response:
        if request.method == "HEAD":
            # Asked about, not started.
            return Response(media_type="application/json")
        if asks_for_page(request.scope):
            return page("load_test.html")
        count = _count(request.query_params.get("count"))
        kind = request.query_params.get("kind") or "demo"
        named = request.query_params.get("batch")
        batch = checked_batch(named) if named else None
        if kinds.get(kind) is None and await kinds.look_again(kind) is None:
            raise unknown_kind(kind, kinds.names, principal_of(request.scope))
        calls = tester.run(
            count,
            kind,
            batch=batch,
            stopping=stopping,
            # As the caller: intake asks for the same permission, and the jobs are of the same tenant.
            authorization=request.headers.get("authorization"),
        )
        result = await _while_connected(request, calls)
        if result is None:
            return Response(status_code=499)
        figures = _figures(result)
        if result.persisted == 0:
            reasons = ", ".join(f"{reason} ({n})" for reason, n in result.failures.items())
            raise ProblemError(problem("intake-unreachable", f"no call was kept: {reasons}", extra=figures))
        return JsonResponse(figures)

    return [
        ApiRoute(index, api.GET_INDEX),
        ApiRoute(asset, api.GET_ASSET),
        ApiRoute(load_test, api.LOAD_TEST, api.POST_LOAD_TEST),
    ]


async def _while_connected(request: Request, work: Any) -> LoadTestResult | None:
    """The result of the work; None when the client left first, which ends the work."""
    task: asyncio.Task[LoadTestResult] = asyncio.create_task(work)
    gone = asyncio.create_task(_when_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _when_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _count(text: str | None) -> int:
    if not text:
        return DEFAULT_COUNT
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_CALLS:
        raise ProblemError(
            problem("bad-count", f"count must be a whole number from 1 to {MAX_CALLS}, not {text[:40]!r}")
        )
    return int(text)


def _figures(result: LoadTestResult) -> LoadTestAnswer:
    figures: LoadTestAnswer = {
        "batch": result.batch,
        "requested": result.requested,
        "persisted": result.persisted,
        "failed": result.failed,
        "duration_ms": result.duration_ms,
        "latency_ms": cast(Latency, result.latency_ms),
        "links": {"batch": f"/batches/{result.batch}", "jobs": f"/jobs?batch={result.batch}"},
    }
    if result.failures:
        figures["failures"] = result.failures
    return figures
