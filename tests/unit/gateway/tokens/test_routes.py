"""What a token says of itself, and of its tenant's others."""

from datetime import timedelta

import pytest
from starlette.applications import Starlette

from acked_common.api.authenticator import Authenticator
from acked_common.background.token_cache import TokenCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model.instants import rfc3339
from acked_common.model.principal import Permission
from acked_common.model.tokens import mint
from acked_common.store.tokens import MemoryTokens
from acked_gateway.tokens import routes
from acked_gateway.tokens.routes import token_routes
from support.asgi import Answer, call
from support.factories import ManualClock


class Bench:
    """The route behind its authentication."""

    def __init__(self, *, asks: bool = True) -> None:
        self.clock = ManualClock()
        self.tokens = MemoryTokens()
        authenticator = Authenticator(TokenCache(self.tokens, self.clock) if asks else None)
        served = token_routes(authenticator)
        authenticator.stand_before(served)
        self.app = Starlette(routes=served, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def make(
        self, *may: Permission, tenant: str = "acme", client: str = "c", days: float | None = None
    ) -> tuple[str, str]:
        """Return a new token and its id."""
        token, record = mint(tenant=tenant, client=client, may=may, at=self.clock.now(), expires_in_days=days)
        assert await self.tokens.add(record)
        return token, record.id

    async def get(self, token: str = "") -> Answer:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await call(self.app, "GET", "/tokens", headers=headers)


async def test_a_token_says_what_it_allows_and_when_it_ends() -> None:
    bench = Bench()
    token, token_id = await bench.make(Permission.READ, Permission.SUBMIT, client="ada", days=1)
    found = (await bench.get(token)).json
    ends_at = rfc3339(bench.clock.now() + timedelta(days=1))
    own = {"tenant": "acme", "client": "ada", "permissions": ["read", "submit"], "token_id": token_id}
    assert found["own"] == {**own, "expires_at": ends_at}
    assert found["asks_for_tokens"] is True
    assert found["tokens"] == [], "other tokens are for those who may operate"


async def test_operators_see_the_active_tokens_of_their_tenant_by_client() -> None:
    bench = Bench()
    operator, own_id = await bench.make(Permission.READ, Permission.OPERATE, client="zoe")
    _, ada = await bench.make(Permission.SUBMIT, client="ada")
    _, ended = await bench.make(Permission.SUBMIT, client="bob", days=1)
    await bench.make(Permission.SUBMIT, client="ada", tenant="other")
    _, revoked = await bench.make(Permission.SUBMIT, client="carl")
    await bench.tokens.revoke(revoked, bench.clock.now())
    bench.clock.advance(2 * 86_400.0)
    answer = await bench.get(operator)
    listed = answer.json["tokens"]
    assert [(token["client"], token["id"]) for token in listed] == [("ada", ada), ("zoe", own_id)]
    assert ended not in answer.body.decode()
    assert answer.json["is_complete"] is True
    assert operator[19:] not in answer.body.decode(), "no secret"
    assert set(listed[0]) == {"id", "client", "permissions", "made_at", "expires_at"}


async def test_the_list_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_TOKENS", 2)
    bench = Bench()
    operator, _ = await bench.make(Permission.READ, Permission.OPERATE, client="zoe")
    for client in ("a", "b"):
        await bench.make(Permission.SUBMIT, client=client)
    found = (await bench.get(operator)).json
    assert [token["client"] for token in found["tokens"]] == ["a", "b"]
    assert found["is_complete"] is False


async def test_without_authentication_everybody_is_the_local_client() -> None:
    found = (await Bench(asks=False).get()).json
    assert found == {
        "own": {
            "tenant": "default",
            "client": "local",
            "permissions": ["operate", "read", "signal", "submit"],
            "token_id": None,
            "expires_at": None,
        },
        "asks_for_tokens": False,
        "tokens": [],
        "is_complete": True,
    }


async def test_no_token_and_one_that_may_not_read_are_refused() -> None:
    bench = Bench()
    assert (await bench.get()).status == 401
    token, _ = await bench.make(Permission.SUBMIT)
    assert (await bench.get(token)).status == 403
