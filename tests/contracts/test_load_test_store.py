"""Where the figures of load tests are kept: with their batch, each tenant's alone, a bounded number of them."""

from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from pymongo.database import Database

from acked_common.store.load_tests import (
    KEPT_DAYS,
    MAX_FIGURES_BYTES,
    SLOTS,
    LoadTestRecord,
    LoadTestStore,
    place_of,
)
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from support.factories import now
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AT = now()


@pytest.fixture
def load_tests(store: AnyStore) -> LoadTestStore:
    return store.load_tests()


def record(batch: str = "load-1", *, tenant: str = "acme", figures: bytes = b'{"requested":1}') -> LoadTestRecord:
    return LoadTestRecord(tenant, batch, AT, figures)


async def test_figures_come_back_as_they_were_kept(load_tests: LoadTestStore) -> None:
    kept = record()
    await load_tests.keep(kept)
    assert await load_tests.find("load-1", tenant="acme") == kept
    again = record(figures=b'{"requested":2}')
    await load_tests.keep(again)
    assert await load_tests.find("load-1", tenant="acme") == again


async def test_figures_of_another_batch_or_tenant_are_not_found(load_tests: LoadTestStore) -> None:
    await load_tests.keep(record())
    assert await load_tests.find("load-2", tenant="acme") is None
    assert await load_tests.find("load-1", tenant="globex") is None


async def test_figures_share_places_so_that_their_number_is_bounded(load_tests: LoadTestStore) -> None:
    first = "load-0"
    other = next(
        name for name in (f"load-{n}" for n in range(1, 100 * SLOTS)) if place_of(name, "") == place_of(first, "")
    )
    await load_tests.keep(record(first))
    await load_tests.keep(record(other))
    assert await load_tests.find(first, tenant="acme") is None
    assert await load_tests.find(other, tenant="acme") == record(other)


def test_figures_are_small() -> None:
    with pytest.raises(ValueError, match="at most"):
        record(figures=b" " * (MAX_FIGURES_BYTES + 1))


async def test_figures_are_found_by_their_id_and_forgotten_in_time(
    mongo_store: MongoStore, database: "Database[dict[str, Any]]"
) -> None:
    await mongo_store.load_tests().keep(record())
    collection = database[schema.LOAD_TESTS]
    stored = collection.find_one({})
    assert stored is not None
    assert stored["forget_at"] == AT + timedelta(days=KEPT_DAYS)
    (forgotten,) = [one for one in collection.list_indexes() if one["name"] == "forgotten"]
    assert (dict(forgotten["key"]), forgotten["expireAfterSeconds"]) == ({"forget_at": 1}, 0)
    plan = collection.find({"_id": place_of("load-1", "acme"), "batch": "load-1"}).explain()
    assert plan["executionStats"]["totalDocsExamined"] == 1
