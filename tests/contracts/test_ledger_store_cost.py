"""What ledgers cost in MongoDB, counted exactly: commands, their bytes, and the bytes of documents.

A job without durable calls costs nothing here: `test_store_success_cost.py` stays as it was.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from msgspec.structs import replace
from pymongo.database import Database

from acked_common.store.errors import StoreError
from acked_common.store.ledgers import Ledgers
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from contracts.test_store_success_cost import Sent
from support.ledgers import entry, opening, write
from support.listened_store import listened_store

AT = datetime(2100, 1, 2, 3, 4, 5, 678000, UTC)
NONCE = "01a20d05-adff-75dc-870e-4517b8566f53"


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
async def ledgers(
    mongo_url: str, mongo_database: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ledgers]:
    store: MongoStore
    async with listened_store(mongo_url, mongo_database, sent, monkeypatch) as store:
        yield store.ledgers()


def stored(database: Database[dict[str, Any]], name: str) -> int:
    """The bytes of all documents of a collection."""
    raw = database[name].with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    return sum(len(document.raw) for document in raw.find())


async def test_one_step_costs_two_commands_for_the_open_and_one_for_the_entry(
    ledgers: Ledgers, sent: Sent, database: Database[dict[str, Any]]
) -> None:
    wanted = opening(UUID(int=1), nonce=NONCE)
    sent.take()
    await ledgers.open_ledgers([wanted], at=AT)
    assert sent.take() == [("update", 360), ("find", 148)]
    assert stored(database, schema.LEDGERS) == 153

    made = entry(1, NONCE, name="quote", at=AT, took_s=0.5, attempt=1, value=b'{"price":100}')
    await ledgers.write_entries([write(wanted.id, 1, made)])
    assert sent.take() == [("update", 475)]
    assert stored(database, schema.LEDGERS) == 324
    assert stored(database, schema.LEDGER_PARTS) == 0


async def test_the_first_write_of_a_first_attempt_costs_one_command(
    ledgers: Ledgers, sent: Sent, database: Database[dict[str, Any]]
) -> None:
    wanted = [opening(UUID(int=number + 1), nonce=NONCE) for number in range(100)]
    writes = [write(one.id, 1, entry(1, NONCE, at=AT), opens=one) for one in wanted]
    sent.take()
    await ledgers.write_entries(writes)
    ((name, size),) = sent.take()
    assert (name, size // len(writes)) == ("insert", 299)
    assert stored(database, schema.LEDGERS) // len(writes) == 295


async def test_a_group_of_attempts_costs_no_more_commands(ledgers: Ledgers, sent: Sent) -> None:
    wanted = [opening(UUID(int=number + 1), nonce=NONCE) for number in range(100)]
    sent.take()
    await ledgers.open_ledgers(wanted, at=AT)
    assert [name for name, _ in sent.take()] == ["update", "find"]
    writes = [write(one.id, number, entry(number, NONCE, at=AT)) for one in wanted for number in (1, 2)]
    await ledgers.write_entries(writes)
    ((name, size),) = sent.take()
    assert (name, size // len(writes)) == ("update", 344)


async def test_a_large_result_costs_one_command_more(
    ledgers: Ledgers, sent: Sent, database: Database[dict[str, Any]]
) -> None:
    wanted = opening(UUID(int=1), nonce=NONCE)
    await ledgers.open_ledgers([wanted], at=AT)
    before = stored(database, schema.LEDGERS)
    sent.take()
    made = entry(1, NONCE, at=AT, value=b"x" * 10_000)
    await ledgers.write_entries([write(wanted.id, 1, made), write(wanted.id, 2, replace(made, seq=2))])
    assert [name for name, _ in sent.take()] == ["insert", "update"]
    assert (stored(database, schema.LEDGERS) - before) // 2 == 67
    assert stored(database, schema.LEDGER_PARTS) // 2 == 10_152


async def test_a_missing_part_is_an_error_and_never_an_entry_less(
    ledgers: Ledgers, database: Database[dict[str, Any]]
) -> None:
    wanted = opening(UUID(int=1), nonce=NONCE)
    await ledgers.open_ledgers([wanted], at=AT)
    await ledgers.write_entries([write(wanted.id, 1, entry(1, NONCE, value=b"x" * 10_000))])
    database[schema.LEDGER_PARTS].delete_many({})
    with pytest.raises(StoreError, match="1 of their parts are missing"):
        await ledgers.open_ledgers([wanted], at=AT)
