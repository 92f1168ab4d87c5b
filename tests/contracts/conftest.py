"""The stores that the contract suite runs against."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest

from acked_common.clock import SharedClock
from acked_common.store.memory import MemoryStore
from acked_common.store.mongo import MongoStore

AnyStore: TypeAlias = MemoryStore | MongoStore


@pytest.fixture(params=["memory", "mongo"])
async def bare_store(request: pytest.FixtureRequest) -> AsyncIterator[AnyStore]:
    """A store before `init`."""
    if request.param == "memory":
        yield MemoryStore(SharedClock())
        return
    url, database = request.getfixturevalue("mongo_url"), request.getfixturevalue("mongo_database")
    store = MongoStore(url, database, app_name="contracts", timeout_s=10.0)
    yield store
    store.close()


@pytest.fixture
async def store(bare_store: AnyStore) -> AnyStore:
    """An empty store."""
    await bare_store.ensure_schema()
    return bare_store
