"""Where tokens are kept: two active ones a client, whoever is fast; revoked at once; expired ones make room."""

import asyncio
from datetime import timedelta
from typing import TypeAlias

import pytest

from acked_common.model.tokens import REMEMBERED_FOR, TokenRecord, is_of, mint
from acked_common.store.mongo.store import MongoStore
from acked_common.store.tokens import TokenStore
from support.factories import now
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AT = now()


@pytest.fixture
def tokens(store: AnyStore) -> TokenStore:
    return store.tokens()


def record(client: str = "billing", *, tenant: str = "acme", may: str = "read", **fields: object) -> TokenRecord:
    options: dict[str, object] = {"at": AT, **fields}
    return mint(tenant=tenant, client=client, may=may.split(","), **options)[1]  # type: ignore[arg-type]


async def test_a_token_comes_back_as_it_was_kept(tokens: TokenStore) -> None:
    token, kept = mint(tenant="default", client="c", may=["worker", "operate"], at=AT, expires_in_days=1)
    assert await tokens.add(kept)
    assert await tokens.active(AT) == [kept]
    assert await tokens.all() == [kept]
    assert is_of((await tokens.all())[0], token.encode())


async def test_a_client_has_two_active_ones_at_most(tokens: TokenStore) -> None:
    first, second, third = record(), record(), record()
    assert [await tokens.add(each) for each in (first, second, third)] == [True, True, False]
    assert await tokens.add(record("other"))
    assert await tokens.add(record(tenant="globex"))
    assert await tokens.revoke(first.id, AT)
    assert await tokens.add(third)
    assert not await tokens.add(record())


async def test_a_race_makes_no_third(tokens: TokenStore) -> None:
    done = await asyncio.gather(*(tokens.add(record()) for _ in range(10)))
    assert done.count(True) == 2
    assert len(await tokens.active(AT)) == 2


async def test_what_has_expired_makes_room(tokens: TokenStore) -> None:
    for _ in range(2):
        assert await tokens.add(record(expires_in_days=1))
    later = AT + timedelta(days=1)
    assert not await tokens.add(record(at=later - timedelta(milliseconds=1)))
    assert await tokens.active(later) == []
    newer = record(at=later)
    assert await tokens.add(newer)
    assert await tokens.active(later) == [newer]


async def test_a_revoked_token_is_listed_and_not_active(tokens: TokenStore) -> None:
    kept, other = record(), record("other")
    assert await tokens.add(kept)
    assert await tokens.add(other)
    assert await tokens.revoke(kept.id, AT)
    assert await tokens.revoke(kept.id, AT + timedelta(days=1)), "a second time is no error"
    assert await tokens.active(AT) == [other]
    found = {each.id: each for each in await tokens.all()}
    assert found[kept.id].revoked_at == AT, "and changes nothing"
    assert found[kept.id].forget_at == AT + REMEMBERED_FOR
    assert not await tokens.revoke("nobody", AT)


async def test_all_of_a_client_are_revoked_together(tokens: TokenStore) -> None:
    mine = [record(), record()]
    others = [record("other"), record(tenant="globex")]
    for each in [*mine, *others]:
        assert await tokens.add(each)
    assert await tokens.revoke_all("acme", "billing", AT) == 2
    assert {each.id for each in await tokens.active(AT)} == {each.id for each in others}
    assert await tokens.add(record())
