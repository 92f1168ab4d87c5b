"""Turn exceptions of routes into problem responses."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from acked_common.http.not_found import NotFound
from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_source import VARY_BY_PAGE, asks_for_page
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
    page = getattr(request.app.state, "page", None)
    elsewhere = getattr(request.app.state, "elsewhere", None) or NotFound((), {})
    if page is None:
        return ProblemResponse(elsewhere.not_found(request.url.path))
    shown: Response
    if asks_for_page(request.scope):
        # A person mistyped an address: the page leads on from here.
        shown = page(request)
        shown.status_code = 404
    else:
        shown = ProblemResponse(elsewhere.not_found(request.url.path))
    shown.headers.update(VARY_BY_PAGE)
    return shown


def _on_client_left(_: Request, error: Exception) -> Response:
    # No client reads this response: it disconnected, or was refused, before the body or the response was complete.
    return Response(status_code=499)


def fault_response(request: Request, error: Exception) -> Response:
    """Log a fault of the server and return the response."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return ProblemResponse(problem("internal", "the request met a fault of the server; its log has the details"))


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    ProblemError: _on_problem,
    StoreError: _on_store_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_client_left,
    Exception: fault_response,
}
