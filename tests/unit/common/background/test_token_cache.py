"""The tokens in memory: known at once, revoked within a refresh, and no way to make MongoDB busy with garbage."""

import asyncio
from datetime import datetime, timedelta

import pytest

from acked_common.background import token_cache as table_module
from acked_common.background.token_cache import TokenCache
from acked_common.http.problems import ProblemError
from acked_common.model.tokens import TokenRecord, mint
from acked_common.store.errors import StoreUnavailable
from acked_common.store.tokens import MemoryTokens
from support.factories import ManualClock
from support.parts import running_tasks, settle


class CountedTokens(MemoryTokens):
    """Counts looks; can be away, or hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.is_away = False
        self.hold: asyncio.Event | None = None

    async def active(self, at: datetime) -> list[TokenRecord]:
        self.looks += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.is_away:
            raise StoreUnavailable("the store is away")
        return await super().active(at)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tokens = CountedTokens()
        self.table = TokenCache(self.tokens, self.clock)

    async def made(self, client: str = "billing", days: float | None = None) -> tuple[bytes, TokenRecord]:
        token, record = mint(tenant="acme", client=client, may=["read"], at=self.clock.now(), expires_in_days=days)
        assert await self.tokens.add(record)
        return token.encode(), record

    async def refused(self, token: bytes) -> tuple[str, int]:
        with pytest.raises(ProblemError) as caught:
            await self.table.find(token)
        found = caught.value.problem
        assert token[19:] == b"" or token[19:].decode("latin-1") not in found.detail
        return found.name, found.status


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(table_module, "LOOK_GAP_S", 0.01)
    return Bench()


UNKNOWN, NOBODY_KNOWS = ("unknown-token", 401), ("access-unknown", 503)


async def test_a_token_works_as_soon_as_it_is_made(bench: Bench) -> None:
    await bench.table.refresh()
    token, record = await bench.made()
    assert bench.table.known(token) is None
    assert await bench.table.find(token) == record
    assert bench.table.known(token) == record
    assert bench.tokens.looks == 2


async def test_a_known_token_costs_no_look(bench: Bench) -> None:
    token, record = await bench.made()
    await bench.table.refresh()
    for _ in range(100):
        assert bench.table.known(token) == record
    assert bench.tokens.looks == 1


async def test_a_wrong_secret_is_refused_without_a_look(bench: Bench) -> None:
    token, _ = await bench.made()
    await bench.table.refresh()
    other, _ = await bench.made("other")
    wrong = token[:19] + other[19:]
    assert bench.table.known(wrong) is None
    assert await bench.refused(wrong) == UNKNOWN
    assert bench.tokens.looks == 1


@pytest.mark.parametrize("text", [b"", b"x", b"acked_", b"\xff" * 62, b"acked_" + b"a" * 56])
async def test_what_is_no_token_is_refused_without_a_look(bench: Bench, text: bytes) -> None:
    await bench.table.refresh()
    assert await bench.refused(text) == UNKNOWN
    assert bench.tokens.looks == 1


async def test_garbage_shares_looks(bench: Bench) -> None:
    await bench.table.refresh()
    garbage = [mint(tenant="x", client="x", may=["read"], at=bench.clock.now())[0].encode() for _ in range(200)]
    assert {await found for found in [bench.refused(token) for token in garbage[:1]]} == {UNKNOWN}
    found = await asyncio.gather(*(bench.refused(token) for token in garbage))
    assert set(found) == {UNKNOWN}
    # One for the first, and one or two for all others together.
    assert bench.tokens.looks <= 4
    looks = bench.tokens.looks
    assert await bench.refused(garbage[7]) == UNKNOWN
    assert bench.tokens.looks == looks, "what was missing a moment ago is not looked for again"


async def test_a_look_that_began_before_the_token_was_made_does_not_count(bench: Bench) -> None:
    await bench.table.refresh()
    other = mint(tenant="x", client="x", may=["read"], at=bench.clock.now())[0].encode()
    bench.tokens.hold = asyncio.Event()
    first = asyncio.create_task(bench.refused(other))
    async with asyncio.timeout(5):
        while bench.tokens.looks < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    token, record = await bench.made()
    second = asyncio.create_task(bench.table.find(token))
    await settle()
    bench.tokens.hold.set()
    assert await first == UNKNOWN
    assert await second == record


async def test_too_many_at_once_are_not_called_unknown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "MAX_WAITING", 3)
    await bench.table.refresh()
    bench.tokens.hold = asyncio.Event()
    garbage = [mint(tenant="x", client="x", may=["read"], at=bench.clock.now())[0].encode() for _ in range(4)]
    waiting = [asyncio.create_task(bench.refused(token)) for token in garbage[:3]]
    await settle()
    assert await bench.refused(garbage[3]) == NOBODY_KNOWS
    bench.tokens.hold.set()
    assert set(await asyncio.gather(*waiting)) == {UNKNOWN}


async def test_what_is_revoked_may_not_stay_after_a_refresh(bench: Bench) -> None:
    token, record = await bench.made()
    await bench.table.refresh()
    assert bench.table.holds(record)
    assert bench.table.known(token) == record
    assert await bench.tokens.revoke(record.id, bench.clock.now())
    await bench.table.refresh()
    assert not bench.table.holds(record)
    assert bench.table.known(token) is None
    assert await bench.refused(token) == UNKNOWN


async def test_what_expires_holds_to_its_last_instant(bench: Bench) -> None:
    token, record = await bench.made(days=1)
    await bench.table.refresh()
    bench.clock.advance(timedelta(days=1).total_seconds() - 0.001)
    assert bench.table.holds(record)
    assert bench.table.known(token) == record
    bench.clock.advance(0.001)
    assert not bench.table.holds(record)
    assert bench.table.known(token) is None
    assert await bench.refused(token) == UNKNOWN


async def test_without_the_store_known_tokens_work_and_nobody_else_is_called_unknown(bench: Bench) -> None:
    token, record = await bench.made()
    await bench.table.refresh()
    bench.tokens.is_away = True
    other, _ = await bench.made("other")
    assert await bench.table.find(token) == record
    assert await bench.refused(other) == NOBODY_KNOWS
    bench.tokens.is_away = False
    assert (await bench.table.find(other)).principal.client == "other"


async def test_known_tokens_do_not_work_for_ever_without_the_store(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, record = await bench.made()
    await bench.table.refresh()
    bench.tokens.is_away = True
    monkeypatch.setattr(table_module, "STALE_AFTER_S", 0.0)
    assert bench.table.known(token) is None
    assert not bench.table.holds(record)
    assert await bench.refused(token) == NOBODY_KNOWS


async def test_before_the_first_look_nobody_knows(bench: Bench) -> None:
    token, record = await bench.made()
    bench.tokens.is_away = True
    assert await bench.refused(token) == NOBODY_KNOWS
    bench.tokens.is_away = False
    assert await bench.table.find(token) == record


async def test_the_loop_keeps_the_table_fresh(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "REFRESH_S", 0.01)
    token, record = await bench.made()
    async with running_tasks() as tasks, asyncio.timeout(5):
        bench.table.start(tasks)
        while bench.table.known(token) is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        await bench.tokens.revoke(record.id, bench.clock.now())
        while bench.table.holds(record):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
