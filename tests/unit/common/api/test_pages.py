"""One address for people and programs: which of them gets the page, ahead of which checks."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from acked_common.api.authenticator import Authenticator
from acked_common.api.pages import serve_pages
from acked_common.api.routes import HTML, JSON, ApiResponse, ApiRoute, Operation, with_page
from acked_common.background.token_cache import TokenCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.request_source import asks_for_page
from acked_common.model.principal import Permission
from acked_common.store.tokens import MemoryTokens
from support.asgi import Answer, call
from support.factories import ManualClock

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PAGE = b"<!doctype html><title>P</title>"


def operation(path: str, **fields: Any) -> Operation:
    done = (ApiResponse(description="Done.", media={JSON: dict[str, Any]}),)
    return Operation(id=path, path=path, tag="T", summary="S", permission=Permission.READ, answers=done, **fields)


@pytest.fixture
def app() -> Starlette:
    """A route with a page and one without, both authenticated; no token is known."""

    async def view(_: Request) -> Response:
        return Response(b"{}", media_type=JSON)

    def shown(_: Request) -> Response:
        return HTMLResponse(PAGE)

    routes = [ApiRoute(view, with_page(operation("/paged"))), ApiRoute(view, operation("/plain"))]
    Authenticator(TokenCache(MemoryTokens(), ManualClock())).stand_before(routes)
    serve_pages(routes, shown)
    made = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))
    made.state.page = shown
    return made


async def get(app: Starlette, path: str, accept: str, method: str = "GET") -> Answer:
    return await call(app, method, path, headers={"accept": accept})


async def test_a_browser_gets_the_page_ahead_of_authentication_and_input_checks(app: Starlette) -> None:
    for path in ("/paged", "/paged?satte=x", "/paged?token=1"):
        answer = await get(app, path, CHROMIUM)
        assert (answer.status, answer.body) == (200, PAGE)
        assert answer.headers["vary"] == "Accept"
    assert (await get(app, "/paged", CHROMIUM, "HEAD")).status == 200


async def test_a_program_gets_the_representation_and_caches_know_it(app: Starlette) -> None:
    answer = await get(app, "/paged", "*/*")
    assert answer.status == 401
    assert "<!doctype" not in answer.body.decode()
    assert answer.headers["vary"] == "Accept"
    assert "vary" not in (await get(app, "/plain", "*/*")).headers


async def test_a_route_without_a_page_stays_as_it_is(app: Starlette) -> None:
    assert (await get(app, "/plain", CHROMIUM)).status == 401


async def test_a_mistyped_address_leads_a_browser_to_the_page(app: Starlette) -> None:
    answer = await get(app, "/nothing", CHROMIUM)
    assert (answer.status, answer.body, answer.headers["vary"]) == (404, PAGE, "Accept")
    answer = await get(app, "/nothing", "*/*")
    assert (answer.status, answer.json["type"], answer.headers["vary"]) == (404, "/problems/not-found", "Accept")


def test_the_document_describes_both_forms() -> None:
    plain, paged = operation("/x"), with_page(operation("/x"))
    assert set(paged.answers[0].media) == {JSON, HTML}
    assert set(plain.answers[0].media) == {JSON}
    assert paged.has_page and not plain.has_page


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("application/json, text/html", True),
        ("application/json;q=0.9, text/html;q=0.9", True),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=0, */*", False),
        ("text/html;level=1;q=0.000", False),
        ("text/html;q=2", False),
        ("text/html;q=x", False),
        ("text/htmlx", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_accept_decides_by_its_weights(accept: str, is_page: bool) -> None:
    scope = {"method": "GET", "headers": [(b"accept", accept.encode())]}
    assert asks_for_page(scope) is is_page
    assert asks_for_page({**scope, "method": "POST"}) is False


def test_accept_may_stand_in_several_headers() -> None:
    headers = [(b"accept", b"application/json"), (b"accept", b"text/html;q=0.9")]
    assert not asks_for_page({"method": "GET", "headers": headers})
    headers = [(b"accept", b"application/json;q=0.5"), (b"accept", b"text/html;q=0.9")]
    assert asks_for_page({"method": "GET", "headers": headers})
