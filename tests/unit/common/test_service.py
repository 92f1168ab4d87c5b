"""What stands around every route of a service: guards, counts, faults, the API document."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from acked_common.api.document import About
from acked_common.api.readiness import Readiness
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation
from acked_common.http.edge import Edge
from acked_common.http.problems import ProblemError, problem
from acked_common.service import ServiceCore
from support.asgi import call
from support.parts import common_settings

DONE = (ApiResponse(description="Done.", media={JSON: dict[str, Any]}),)


class Hot:
    """An endpoint that is asked for most."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match dict(scope["headers"]).get(b"x-case"):
            case b"refused":
                raise ProblemError(problem("busy", "too many"))
            case b"broken":
                raise ZeroDivisionError("secret detail")
        await Response(b"{}", media_type=JSON)(scope, receive, send)


def operation(path: str, **fields: Any) -> Operation:
    """An operation that says no more than it must."""
    return Operation(
        id=path.strip("/") or "root", path=path, tag="T", summary="S", permission=None, answers=DONE, **fields
    )


async def broken(_: Request) -> Response:
    raise ZeroDivisionError("secret detail")


async def half(_: Request) -> Response:
    async def chunks() -> Any:
        yield b"a"
        raise ZeroDivisionError("too late to be told")

    return StreamingResponse(chunks())


async def fine(_: Request) -> Response:
    return Response(b"{}", media_type=JSON)


@pytest.fixture
def app() -> Starlette:
    core = ServiceCore(common_settings(), name="test", store_timeout_s=1.0)
    return core.application(
        [
            ApiRoute(broken, operation("/broken")),
            ApiRoute(half, operation("/half")),
            ApiRoute(fine, operation("/fine", is_change=True)),
            ApiRoute(Hot(), operation("/hot", method="POST")),
        ],
        about=About(title="Test", description="", tags={"T": "t"}),
        readiness=lambda: Readiness({}),
        hot=frozenset({"/hot"}),
    )


def count(route: str, status: int) -> float:
    labels = {"route": route, "status": str(status)}
    return REGISTRY.get_sample_value("acked_http_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("path", "headers", "status", "route"),
    [
        ("/fine", {}, 200, "/fine"),
        ("/broken", {}, 500, "/broken"),
        ("/fine", {"host": "evil.example"}, 421, "/fine"),
        ("/fine", {"sec-fetch-site": "cross-site"}, 403, "/fine"),
        ("/nowhere", {"x": "x" * 33_000}, 431, "other"),
        ("/half", {}, 200, "/half"),
        ("/hot", {}, 200, "/hot"),
        ("/hot", {"x-case": "broken"}, 500, "/hot"),
        ("/fine?x=1", {}, 422, "/fine"),
        ("/openapi.json?x=1", {}, 422, "/openapi.json"),
        ("/hot", {"host": "evil.example"}, 421, "/hot"),
    ],
)
async def test_every_answer_is_counted_once(
    app: Starlette, path: str, headers: dict[str, str], status: int, route: str
) -> None:
    before, faults = count(route, status), count(route, 500)
    assert (await call(app, "GET", path, headers=headers)).status == status
    assert count(route, status) == before + 1
    assert status == 500 or count(route, 500) == faults


async def test_the_answer_to_a_fault_carries_the_headers_of_every_answer(app: Starlette) -> None:
    answer, other = await call(app, "GET", "/broken"), await call(app, "GET", "/fine")
    assert (answer.status, answer.json["type"]) == (500, "/problems/internal")
    assert b"secret" not in answer.body
    assert int(answer.headers["content-length"]) == len(answer.body)
    for name in ("x-content-type-options", "referrer-policy", "cache-control"):
        assert answer.headers[name] == other.headers[name]


async def test_a_hot_path_is_answered_as_every_other(app: Starlette) -> None:
    answer, other = await call(app, "GET", "/hot"), await call(app, "GET", "/fine")
    assert (answer.status, answer.headers) == (other.status, other.headers)
    refusal = await call(app, "POST", "/hot", headers={"x-case": "refused"})
    assert (refusal.status, refusal.json["type"], refusal.headers["retry-after"]) == (503, "/problems/busy", "1")
    assert refusal.headers["cache-control"] == "no-store"
    fault = await call(app, "POST", "/hot", headers={"x-case": "broken"})
    assert (fault.status, fault.json["type"]) == (500, "/problems/internal")
    assert b"secret" not in fault.body
    assert (await call(app, "POST", "/hot/")).status == 404


async def test_a_path_has_one_form(app: Starlette) -> None:
    answer = await call(app, "GET", "/fine/")
    assert (answer.status, answer.json["type"]) == (404, "/problems/not-found")


async def test_a_read_that_changes_something_is_guarded_as_its_operation_says(app: Starlette) -> None:
    cross_site = {"sec-fetch-site": "cross-site"}
    assert (await call(app, "GET", "/fine", headers=cross_site)).status == 403
    assert (await call(app, "GET", "/healthz", headers=cross_site)).status == 200


async def test_the_document_describes_what_is_served(app: Starlette) -> None:
    document = (await call(app, "GET", "/openapi.json")).json
    assert {"/fine", "/broken", "/status/{id}", "/healthz", "/openapi.json"} <= set(document["paths"])
    assert "403" in document["paths"]["/fine"]["get"]["responses"]


async def test_what_is_hot_and_fails_behind_the_beginning_of_its_answer_is_not_answered_twice() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    front = Edge(half, checks=[], hot={"/hot": half})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await front({"type": "http", "path": "/hot", "method": "GET", "headers": []}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["http.response.start"]
