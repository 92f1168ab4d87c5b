"""The stores that the contract suite runs against."""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import pytest
from pymongo.database import Database

from acked_common.runtime.clock import SharedClock
from acked_common.store.mongo.store import MongoStore
from deploy.native.packages import PackagesError
from support.failing_mongod import FailingMongod, failing_mongod
from support.memory_store import MemoryStore
from support.servers import Servers

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
    await store.close()


@pytest.fixture
async def mongo_store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    """An empty store on MongoDB, for tests of it alone."""
    store = MongoStore(mongo_url, mongo_database, app_name="contracts", timeout_s=10.0)
    await store.ensure_schema()
    yield store
    await store.close()


@pytest.fixture
def database(servers: Servers, mongo_database: str) -> Database[dict[str, Any]]:
    """The same database past the store."""
    return servers.mongo()[mongo_database]


@pytest.fixture
async def store(bare_store: AnyStore) -> AnyStore:
    """An empty store."""
    await bare_store.ensure_schema()
    return bare_store


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingMongod]:
    """A server that fails on demand; skips where there is no mongod, fails there with CI=true."""
    try:
        with failing_mongod(tmp_path_factory.mktemp("mongod")) as running:
            yield running
    except PackagesError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
