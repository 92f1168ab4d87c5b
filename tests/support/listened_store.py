"""A store on MongoDB whose commands a test hears."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandSucceededEvent

from acked_common.store.mongo.store import MongoStore


class StartedListener(CommandListener):
    """Hear the commands that are sent; what becomes of them does not matter."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Not noted."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Not noted."""


@asynccontextmanager
async def listened_store(
    url: str, database: str, listener: CommandListener, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MongoStore]:
    """Open a store with its schema, all of whose commands the listener hears."""
    client = partial(AsyncIOMotorClient, event_listeners=[listener])
    monkeypatch.setattr("acked_common.store.mongo.driver.AsyncIOMotorClient", client)
    store = MongoStore(url, database, app_name="contracts", timeout_s=10.0)
    await store.ensure_schema()
    yield store
    await store.close()
