"""The authenticator: which principal gets through to which route, and what other requests receive."""

from collections.abc import Iterable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from acked_common.api.authenticator import Authenticator
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation, SocketRoute
from acked_common.background.token_cache import TokenCache
from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.problems import ProblemError
from acked_common.model.principal import LOCAL, Permission, Principal, principal_of
from acked_common.model.tokens import TokenRecord, mint
from acked_common.store.tokens import MemoryTokens
from support.asgi import Answer as Got
from support.asgi import call
from support.factories import ManualClock

DONE = (ApiResponse(description="Done.", media={JSON: dict[str, Any]}),)


def operation(path: str, permission: Permission | None, **fields: Any) -> Operation:
    """An operation that says no more than it must."""
    name = f"{fields.get('method', 'GET')} {path}"
    return Operation(id=name, path=path, tag="T", summary="S", permission=permission, **{"answers": DONE, **fields})


class Bench:
    """An application with an authenticated route of each sort."""

    def __init__(self, *, asks: bool = True) -> None:
        self.clock = ManualClock()
        self.tokens = MemoryTokens()
        self.table = TokenCache(self.tokens, self.clock)
        self.authenticator = Authenticator(self.table if asks else None)
        self.answered: list[int] = []
        self.seen: list[Principal] = []

        async def view(request: Request) -> Response:
            self.seen.append(principal_of(request.scope))
            return Response(b"{}", media_type=JSON)

        async def bare(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(principal_of(scope))
            await Response(b"{}", media_type=JSON)(scope, receive, send)

        class Bare:
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await bare(scope, receive, send)

        routes = [
            ApiRoute(view, operation("/open", None)),
            ApiRoute(view, operation("/read", Permission.READ), operation("/read", Permission.OPERATE, method="POST")),
            ApiRoute(view, operation("/page", Permission.SUBMIT)),
            ApiRoute(view, operation("/shared", Permission.OPERATE, of_all_tenants=True)),
            ApiRoute(Bare(), operation("/bare", Permission.SUBMIT, method="POST")),
        ]
        self.authenticator.stand_before(routes)
        self.app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        self.app.middleware_stack = Edge(
            self.app.build_middleware_stack(),
            checks=[self.authenticator.recognize],
            count=lambda scope, status, _: self.answered.append(status),
        )

    async def token(self, *may: Permission, tenant: str = "acme", client: str = "c") -> str:
        token, record = mint(tenant=tenant, client=client, may=may, at=self.clock.now())
        assert await self.tokens.add(record)
        return token

    async def get(self, path: str, token: str = "", *, method: str = "GET", **headers: str) -> Got:
        sent = {"authorization": f"Bearer {token}"} if token else {}
        return await call(self.app, method, path, headers={**sent, **headers})


@pytest.fixture
def bench() -> Bench:
    return Bench()


def names(answers: Iterable[Got]) -> list[str]:
    return [answer.json["type"].rpartition("/")[2] for answer in answers]


async def test_without_a_token_only_what_is_open_is_served(bench: Bench) -> None:
    assert (await bench.get("/open")).status == 200
    for method, path in (("GET", "/read"), ("HEAD", "/read"), ("POST", "/read"), ("GET", "/page"), ("POST", "/bare")):
        answer = await bench.get(path, method=method)
        assert answer.status == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert [status for status in bench.answered if status != 200] == [401] * 5
    assert bench.seen == [LOCAL]


async def test_a_token_opens_what_it_allows_and_the_route_knows_who_calls(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    assert (await bench.get("/read", token)).status == 200
    assert bench.seen == [Principal("acme", "c", frozenset({Permission.READ}))]
    answer = await bench.get("/read", token, method="POST")
    assert (answer.status, names([answer])) == (403, ["missing-permission"])
    assert "operate" in answer.json["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="operate"'
    assert (await bench.get("/bare", token, method="POST")).status == 403


async def test_who_calls_is_known_ahead_of_the_routes(bench: Bench) -> None:
    token = await bench.token(Permission.READ)

    def recognized(scope: dict[str, Any]) -> Principal:
        bench.authenticator.recognize(scope)
        return principal_of(scope)

    shown = [token, token[:-1] + "_", ""]
    seen = [recognized(socket_scope(text)) for text in shown]
    assert [who.tenant for who in seen] == ["default"] * 3, "a token that nobody has looked for is not known yet"
    await bench.table.refresh()
    seen = [recognized(socket_scope(text)) for text in shown]
    assert [who.tenant for who in seen] == ["acme", "default", "default"]
    assert recognized({**socket_scope(token), "headers": socket_scope(token)["headers"] * 2}) is LOCAL


async def test_two_authorization_headers_are_none(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    for _ in range(2):
        with pytest.raises(ProblemError, match="more than one"):
            await bench.authenticator.enter(
                {**socket_scope(), "headers": socket_scope(token)["headers"] * 2}, Permission.READ
            )
        await bench.table.refresh()


async def test_a_bare_application_is_behind_the_gate_too(bench: Bench) -> None:
    token = await bench.token(Permission.SUBMIT)
    assert (await bench.get("/bare", token, method="POST")).status == 200
    assert bench.seen[0].tenant == "acme"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_the_scheme_has_no_case(bench: Bench, scheme: str) -> None:
    token = await bench.token(Permission.READ)
    assert (await bench.get("/read", authorization=f"{scheme} {token}")).status == 200


@pytest.mark.parametrize("value", ["", "Bearer", "Basic YTpi", "{token}", "Token {token}"])
async def test_another_scheme_is_no_token(bench: Bench, value: str) -> None:
    token = await bench.token(Permission.READ)
    answer = await bench.get("/read", authorization=value.format(token=token))
    assert answer.status == 401
    assert token not in answer.body.decode()


async def test_an_unknown_token_is_told_so(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    answer = await bench.get("/read", token[:-1] + ("a" if token[-1] != "a" else "b"))
    assert (answer.status, names([answer])) == (401, ["unknown-token"])
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert token[19:40] not in answer.body.decode()


async def test_a_token_in_the_url_is_refused_even_beside_a_good_header(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    for query in (f"?token={token}", f"?access_token={token}", f"?a=b&x={token}"):
        for header in ("", token):
            answer = await bench.get(f"/read{query}", header)
            assert (answer.status, names([answer])) == (400, ["token-in-url"])
            assert "logs" in answer.json["detail"]
            assert token not in answer.body.decode()
    assert bench.seen == []


async def test_what_all_tenants_share_is_for_who_runs_the_server(bench: Bench) -> None:
    mine = await bench.token(Permission.OPERATE)
    answer = await bench.get("/shared", mine)
    assert (answer.status, names([answer])) == (403, ["missing-permission"])
    assert "tenant 'default'" in answer.json["detail"]
    assert (await bench.get("/shared", await bench.token(Permission.OPERATE, tenant="default"))).status == 200


async def test_a_method_that_is_not_served_is_refused_as_ever(bench: Bench) -> None:
    assert (await bench.get("/read", method="DELETE")).status == 405


async def test_where_no_token_is_asked_for_everybody_is_the_local_client() -> None:
    bench = Bench(asks=False)
    for method, path in (("GET", "/read"), ("POST", "/bare"), ("GET", "/shared")):
        assert (await bench.get(path, method=method, authorization="Bearer whatever")).status == 200
    assert bench.seen == [LOCAL] * 3
    assert await bench.authenticator.enter({"headers": [], "query_string": b""}, Permission.READ) is None
    assert bench.authenticator.may_stay(None)


@pytest.mark.parametrize("asks", [True, False])
def test_a_route_that_does_not_say_who_may_use_it_is_not_served(asks: bool) -> None:
    async def endpoint(_: Any) -> Any:
        return None

    authenticator = Bench(asks=asks).authenticator
    for route in (Route("/x", endpoint), WebSocketRoute("/x", endpoint)):
        with pytest.raises(ValueError, match="declares no permission"):
            authenticator.stand_before([route])
    authenticator.stand_before([SocketRoute("/x", endpoint, permission=Permission.READ)])


def socket_scope(token: str = "", query: bytes = b"") -> dict[str, Any]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    return {"type": "websocket", "headers": headers, "query_string": query}


async def test_a_websocket_shows_its_token_in_the_handshake(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    record = await bench.authenticator.enter(socket_scope(token), Permission.READ)
    assert isinstance(record, TokenRecord)
    assert bench.authenticator.may_stay(record)
    await bench.tokens.revoke(record.id, bench.clock.now())
    await bench.table.refresh()
    assert not bench.authenticator.may_stay(record)
    with pytest.raises(ProblemError, match="revoked"):
        bench.authenticator.check_still({"acked.token": record})


async def test_a_websocket_without_a_good_token_is_refused(bench: Bench) -> None:
    token = await bench.token(Permission.READ)
    for scope, permission, name in (
        (socket_scope(), Permission.READ, "no-token"),
        (socket_scope("x"), Permission.READ, "unknown-token"),
        (socket_scope(token), Permission.OPERATE, "missing-permission"),
        (socket_scope(token, f"token={token}".encode()), Permission.READ, "token-in-url"),
    ):
        with pytest.raises(ProblemError) as caught:
            await bench.authenticator.enter(scope, permission)
        assert caught.value.problem.name == name
