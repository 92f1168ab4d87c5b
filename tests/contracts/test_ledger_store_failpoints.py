"""Ledgers while MongoDB itself fails: what is unknown is repeated, and kept once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
from msgspec.structs import replace

from acked_common.model.ledger import AlreadyKept, Fenced, JobLedger, PendingSignals, Repeated
from acked_common.model.ledger_rules import entry_bytes
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.ledgers import Ledgers
from acked_common.store.mongo.store import MongoStore
from contracts.test_store_mongo_failpoints import APP, FAILURES, UNCONFIRMED, database, each, proxy
from support.factories import now
from support.failing_mongod import FailingMongod
from support.ledgers import digest, entry, ledger_of, opened, opening, push, write
from support.stores import store_behind
from support.tcp_proxy import Proxy

__all__ = ["database", "proxy"]

T = TypeVar("T")
LARGE = b"x" * 5000


@pytest.fixture
async def store(proxy: Proxy, database: str) -> AsyncIterator[MongoStore]:
    async with store_behind(proxy, database, app_name=APP, timeout_s=6.0) as store:
        yield store


@pytest.fixture
def ledgers(store: MongoStore) -> Ledgers:
    return store.ledgers()


async def known(verb: Callable[[], Awaitable[T]]) -> tuple[T, int]:
    """Repeat a verb until its outcome is known, as its callers do. Return how often it was not."""
    for unknown in range(10):
        try:
            return await verb(), unknown
        except OutcomeUnknown:
            continue
    raise AssertionError("the outcome stays unknown")


@each(FAILURES)
async def test_an_open_that_fails_is_repeated(mongod: FailingMongod, ledgers: Ledgers, how: dict[str, object]) -> None:
    wanted = [opening() for _ in range(3)]
    with mongod.failing(["update"], app_name=APP, times=1, **how):
        found, unknown = await known(lambda: ledgers.open_ledgers(wanted, at=now()))
    assert unknown == 1, "the driver repeats no open by itself"
    assert [isinstance(one, JobLedger) and one.by for one in found] == ["n1"] * 3


@each(FAILURES)
async def test_a_first_write_that_fails_is_repeated_and_kept_once(
    mongod: FailingMongod, ledgers: Ledgers, how: dict[str, object]
) -> None:
    wanted = [opening() for _ in range(3)]
    writes = [write(one.id, 1, opens=one) for one in wanted]
    with mongod.failing(["insert"], app_name=APP, times=1, **how):
        found, unknown = await known(lambda: ledgers.write_entries(writes))
    assert unknown == 1
    assert found == [one.entry for one in writes]
    for one in writes:
        assert (await ledger_of(ledgers, one.id)).size_bytes == entry_bytes(one.entry)


@each(FAILURES)
@pytest.mark.parametrize("value", [b"1", LARGE], ids=["small", "large"])
async def test_a_write_that_fails_is_repeated_and_kept_once(
    mongod: FailingMongod, ledgers: Ledgers, how: dict[str, object], value: bytes
) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    writes = [write(wanted.id, number, entry(number, value=value)) for number in (1, 2, 3)]
    with mongod.failing(["update"], app_name=APP, times=1, **how):
        found, unknown = await known(lambda: ledgers.write_entries(writes))
    assert unknown == 1
    assert found == [one.entry for one in writes]
    ledger = await ledger_of(ledgers, wanted.id)
    assert ledger.entries == {one.digest: one.entry for one in writes}
    assert ledger.size_bytes == sum(entry_bytes(one.entry) for one in writes)


@each(UNCONFIRMED)
async def test_a_write_that_was_done_and_not_confirmed_is_known_by_its_nonce(
    mongod: FailingMongod, ledgers: Ledgers, how: dict[str, object]
) -> None:
    """The entry is there; the repetition finds it, and another attempt's would be refused."""
    wanted = opening()
    await opened(ledgers, wanted)
    done = write(wanted.id, 1)
    with mongod.failing(["update"], app_name=APP, times=1, **how), pytest.raises(OutcomeUnknown):
        await ledgers.write_entries([done])
    other = write(wanted.id, 1, entry(9, value=b"other"))
    assert await ledgers.write_entries([other, done]) == [AlreadyKept(done.entry), done.entry]
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): done.entry}


@pytest.mark.parametrize("value", [b"1", LARGE], ids=["small", "large"])
async def test_a_response_that_is_lost_behind_the_write_changes_nothing(
    ledgers: Ledgers, proxy: Proxy, value: bytes
) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    made = write(wanted.id, 1, entry(1, value=value))
    proxy.lose("update", times=1)
    found, unknown = await known(lambda: ledgers.write_entries([made]))
    assert (found, unknown, proxy.lost) == ([made.entry], 1, 1)
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): made.entry}


async def test_a_repetition_behind_the_next_open_is_fenced(ledgers: Ledgers, proxy: Proxy) -> None:
    """The write was done, but its attempt is over before it knows; the next attempt has the entry."""
    wanted = opening()
    await opened(ledgers, wanted)
    made = write(wanted.id, 1)
    proxy.lose("update", times=1)
    with pytest.raises(OutcomeUnknown):
        await ledgers.write_entries([made])
    later = await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    assert later.entries == {digest(1): made.entry}
    assert await ledgers.write_entries([made]) == [Fenced(2)]


async def test_a_part_whose_reference_was_never_written_belongs_to_no_entry(
    mongod: FailingMongod, ledgers: Ledgers
) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    with mongod.failing(["update"], app_name=APP, closeConnection=True), pytest.raises(OutcomeUnknown):
        await ledgers.write_entries([write(wanted.id, 1, entry(1, value=LARGE))])
    later = await opened(ledgers, replace(wanted, attempt=2, nonce="n2"))
    assert later.entries == {}
    made = entry(1, "n2", value=LARGE)
    assert await ledgers.write_entries([write(wanted.id, 1, made)]) == [made]
    assert (await ledger_of(ledgers, wanted.id)).entries == {digest(1): made}


@each(FAILURES)
async def test_a_signal_that_fails_is_repeated_and_numbered_once(
    mongod: FailingMongod, ledgers: Ledgers, how: dict[str, object]
) -> None:
    wanted = opening()
    await opened(ledgers, wanted)
    sent = push(wanted.id)
    with mongod.failing(["findAndModify"], app_name=APP, times=1, **how):
        found, unknown = await known(lambda: ledgers.push_signal(sent, at=now()))
    assert unknown == 1
    # Repeated if the first sending took effect, although its confirmation was lost.
    assert found in (PendingSignals(wanted.id, 1, (sent.signal.name,)), Repeated(replace(sent.signal, seq=1)))
    assert [signal.seq for signal in (await ledger_of(ledgers, wanted.id)).inbox] == [1]


async def test_writes_through_many_failures_are_each_kept_once(mongod: FailingMongod, ledgers: Ledgers) -> None:
    wanted = [opening() for _ in range(5)]
    await ledgers.open_ledgers(wanted, at=now())
    groups = [
        [write(one.id, number, entry(number, value=LARGE if number % 2 else b"1")) for one in wanted]
        for number in range(1, 21)
    ]
    with mongod.failing(["update"], app_name=APP, times=8, closeConnection=True):
        await asyncio.gather(*(known(lambda group=group: ledgers.write_entries(group)) for group in groups))
    for one in wanted:
        ledger = await ledger_of(ledgers, one.id)
        assert sorted(made.seq for made in ledger.entries.values()) == list(range(1, 21))
