"""Turns exceptions that leave a route into problem responses."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from acked_common.http.not_found import NotFound
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import ProblemResponse
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError

log = get_log(__name__)


def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class alone
    return ProblemResponse(error.problem)


def _on_store_error(_: Request, error: Exception) -> Response:
    return ProblemResponse(problem("store-unreachable", str(error)))


def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allowed = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        return ProblemResponse(
            problem(
                "method-not-allowed", f"{request.method} is not served here; use {allowed}", headers={"Allow": allowed}
            )
        )
    elsewhere = getattr(request.app.state, "elsewhere", None) or NotFound((), {})
    return ProblemResponse(elsewhere.not_found(request.url.path))


def _on_client_left(_: Request, error: Exception) -> Response:
    # Nobody reads it: the client went, or was refused, before its body or its answer was here.
    return Response(status_code=499)


def fault_response(request: Request, error: Exception) -> Response:
    """The answer to a fault of the server, which goes to its log."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return ProblemResponse(problem("internal", "the request met a fault of the server; its log has the details"))


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    ProblemError: _on_problem,
    StoreError: _on_store_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_client_left,
    Exception: fault_response,
}
