"""What no route takes: parameters that mean nothing, twice or broken, and bodies where none is read."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Body, Operation, Parameter
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model.numbers import decimal, whole
from support.asgi import Answer as Got
from support.asgi import call

NAMES = ("state", "page_size")


def operation(path: str, *, method: Any = "GET", body: bool = False) -> Operation:
    return Operation(
        id=f"{method} {path}",
        path=path,
        tag="T",
        summary="S",
        permission=None,
        method=method,
        answers=(ApiResponse(description="Done.", media={JSON: dict[str, Any]}),),
        parameters=(
            *(Parameter(name=name, place="query", type=str, description="d") for name in NAMES),
            Parameter(name="X-Sent", place="header", type=str, description="d"),
        ),
        body=Body(type=Any, required=False, description="d") if body else None,
    )


async def view(request: Request) -> Response:
    return Response(await request.body() or b"{}", media_type=JSON)


APP = Starlette(
    routes=[
        ApiRoute(view, operation("/list")),
        ApiRoute(view, operation("/both"), operation("/both", method="POST", body=True)),
    ],
    exception_handlers=dict(EXCEPTION_HANDLERS),
)


async def asked(target: str, *, method: str = "GET", body: tuple[bytes, ...] = (), **headers: str) -> Got:
    return await call(APP, method, target, *body, headers=headers)


@pytest.mark.parametrize(
    "query", ["", "?", "?&", "?state=a", "?state=a&page_size=1", "?state", "?%73tate=a+b%20%C3%A9"]
)
async def test_known_parameters_reach_the_view(query: str) -> None:
    assert (await asked(f"/list{query}")).status == 200


@pytest.mark.parametrize(
    ("query", "pointer", "says"),
    [
        ("satte=a", "?satte", "did you mean 'state'"),
        ("State=a", "?State", "did you mean 'state'"),
        ("state=a&n=5", "?n", "Known: state, page_size"),
        ("=a", "?", "not a known parameter"),
        ("X-Sent=a", "?X-Sent", "not a known parameter"),
        ("%zz=a", "?%zz", "not a known parameter"),
        ("state%20=a", "?state ", "not a known parameter"),
        ("state;page_size=1", "?state;page_size", "not a known parameter"),
    ],
)
async def test_unknown_parameter_is_named_with_known_ones(query: str, pointer: str, says: str) -> None:
    for method in ("GET", "HEAD"):
        assert (await asked(f"/list?{query}", method=method)).status == 422
    answer = await asked(f"/list?{query}")
    assert answer.json["type"] == "/problems/unknown-field"
    assert answer.json["errors"][0]["pointer"] == pointer
    assert says in answer.json["errors"][0]["detail"]
    assert answer.json["known_fields"] == list(NAMES)


@pytest.mark.parametrize(
    "query", ["state=a&state=b", "state=a&%73tate=a", "state=%zz", "state=%ff", "state=%", "state=%C3", "state=%u00e9"]
)
async def test_parameter_twice_or_broken_is_refused(query: str) -> None:
    answer = await asked(f"/list?{query}")
    assert (answer.status, answer.json["type"]) == (422, "/problems/invalid-field")
    assert answer.json["errors"][0]["pointer"] == "?state"


async def test_many_unknown_parameters_give_a_short_answer() -> None:
    answer = await asked("/list?" + "&".join(f"a{i}=1" for i in range(2000)))
    assert "2,000" in answer.json["detail"]
    assert len(answer.body) < 4096


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/list", (b"{}",), {}, 200),
        ("GET", "/list", (b" { } ",), {}, 422),
        ("GET", "/list", (b"{",), {}, 422),
        ("GET", "/list", (b"{}{}",), {}, 422),
        ("GET", "/list", (b"[]",), {}, 422),
        ("GET", "/list", (b"x" * 100,), {}, 422),
        ("GET", "/list", (b"",), {"content-length": "000"}, 200),
        ("GET", "/both", (b"x",), {}, 422),
        ("POST", "/both", (b"{}",), {}, 200),
        ("GET", "/list", (b"",), {"transfer-encoding": "chunked"}, 200),
        ("GET", "/list", (b"", b""), {"transfer-encoding": "chunked"}, 200),
        ("GET", "/list", (b"{", b"}"), {"transfer-encoding": "chunked"}, 200),
        ("GET", "/list", (b"", b"x"), {"transfer-encoding": "chunked"}, 422),
        ("HEAD", "/list", (b"x",), {"transfer-encoding": "chunked"}, 422),
    ],
)
async def test_body_is_refused_where_none_is_taken(
    method: str, path: str, body: tuple[bytes, ...], headers: dict[str, str], status: int
) -> None:
    if "transfer-encoding" in headers:
        headers = {**headers, "content-length": "0"}
    answer = await asked(path, method=method, body=body, **headers)
    assert answer.status == status
    if status == 422:
        assert answer.json["type"] == "/problems/unexpected-body"


async def test_method_that_is_not_served_stays_a_405() -> None:
    assert (await asked("/list?x=1", method="POST", body=(b"x",))).status == 405


@pytest.mark.parametrize("text", ["", "٣", "३", "+5", "-5", " 5", "5 ", "1_000", "0x10", "1e3", "5.0", "nan", "9" * 19])
def test_whole_takes_ascii_digits_alone(text: str) -> None:
    with pytest.raises(ValueError, match="whole"):
        whole(text)


@pytest.mark.parametrize(
    "text", ["", ".", "٣", "+5", "-5", " 5", "1_0", "0x10", "nan", "inf", "infinity", "5s", "1e", "1e1000", "1,5"]
)
def test_decimal_takes_plain_numbers_alone(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        decimal(text)


def test_plain_numbers_are_read() -> None:
    assert [whole(text) for text in ("0", "007", "1000")] == [0, 7, 1000]
    assert [decimal(text) for text in ("0", "1.5", ".5", "5.", "1e3", "2E-1")] == [0.0, 1.5, 0.5, 5.0, 1000.0, 0.2]
