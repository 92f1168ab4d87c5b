"""The load test over HTTP: figures for programs, a page for browsers.

The request guards admit a GET for figures only from a program or a person. Browsers get the page (`page.py`), which
starts its test by itself only with a one-time value (`OneTimeValues`).
"""

import asyncio
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.routes import ApiRoute
from acked_common.background.kind_cache import KindCache, unknown_kind
from acked_common.http.limits import Limit, client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_source import by_name, is_speculative
from acked_common.http.requests import while_connected
from acked_common.http.responses import JsonResponse
from acked_common.model.numbers import whole
from acked_common.model.principal import principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.ports import JobLists
from acked_gateway.jobs.load_figures import Latency, LoadTestAnswer
from acked_gateway.jobs.routes import checked_new_batch
from acked_gateway.load_test.one_time import OneTimeValues
from acked_gateway.load_test.operations import (
    DEFAULT_COUNT,
    LOAD_TEST,
    POST_LOAD_TEST,
    RUN_ONCE_HEADER,
)
from acked_gateway.load_test.runner import MAX_CALLS, LoadTester, LoadTestResult
from acked_gateway.load_test.stored_figures import StoredFigures


@dataclass(frozen=True, slots=True)
class LoadTestLimits:
    """The limits of running load tests, and of their calls in all."""

    tests: Limit
    calls: Limit


def load_test_routes(
    tester: LoadTester,
    kinds: KindCache,
    store: JobLists,
    clock: Clock,
    stopping: asyncio.Event,
    *,
    run_once: OneTimeValues,
    kept: StoredFigures,
    limits: LoadTestLimits,
) -> list[ApiRoute]:
    """Return the routes of the load test."""

    async def redeem(value: str, batch: str | None, tenant: str) -> None:
        is_valid = batch is not None and run_once.redeem(value, batch, clock.now().timestamp())
        # Another process may have redeemed it.
        if not is_valid or await store.count_batch(batch or "", tenant=tenant) is not None:
            detail = "the one-time value of this page was used before, or is too old: press Run to start a test"
            raise ProblemError(problem("stale-page", detail))

    async def load_test(request: Request) -> Response:
        if request.method == "HEAD":
            # A HEAD starts no test.
            return Response(media_type="application/json")
        if is_speculative(by_name(request.headers.raw)):
            raise ProblemError(problem("cross-site", "a browser sent this request speculatively; nothing was started"))
        client = client_of(request.scope)
        count = _count(request.query_params.get("count"))
        kind = request.query_params.get("kind") or "demo"
        named = request.query_params.get("batch")
        batch = checked_new_batch(named) if named else None
        if kinds.get(kind) is None and await kinds.look_again(kind) is None:
            raise unknown_kind(kind, kinds.names, principal_of(request.scope))
        with limits.tests.holding(client), limits.calls.holding(client, count):
            if (value := request.headers.get(RUN_ONCE_HEADER)) is not None:
                await redeem(value, batch, principal_of(request.scope).tenant)
            calls = tester.run(
                count,
                kind,
                batch=batch,
                stopping=stopping,
                # As the caller: intake requires the same permission, and the jobs belong to the same tenant.
                authorization=request.headers.get("authorization"),
            )
            result = await while_connected(request, calls)
        answer = _figures(result)
        await kept.keep(answer, tenant=principal_of(request.scope).tenant)
        if result.persisted == 0:
            reasons = ", ".join(f"{reason} ({n})" for reason, n in result.failures.items())
            raise ProblemError(problem("intake-unreachable", f"no call was persisted: {reasons}", extra=answer))
        return JsonResponse(answer)

    return [ApiRoute(load_test, LOAD_TEST, POST_LOAD_TEST)]


def _count(text: str | None) -> int:
    if not text:
        return DEFAULT_COUNT
    try:
        count = whole(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MAX_CALLS:
        raise ProblemError(
            problem("bad-count", f"count must be a whole number from 1 to {MAX_CALLS}, not {text[:40]!r}")
        )
    return count


def _figures(result: LoadTestResult) -> LoadTestAnswer:
    figures: LoadTestAnswer = {
        "batch": result.batch,
        "requested": result.requested,
        "persisted": result.persisted,
        "failed": result.failed,
        "duration_ms": result.duration_ms,
        "latency_ms": cast(Latency, result.latency_ms),
        "latency_histogram": {"bounds_ms": list(result.spread.bounds_ms), "counts": list(result.spread.counts)},
        "links": {"batch": f"/batches/{result.batch}", "jobs": f"/jobs?batch={result.batch}"},
    }
    if result.failures:
        figures["failures"] = result.failures
    return figures
