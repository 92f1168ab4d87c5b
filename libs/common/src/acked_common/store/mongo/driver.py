"""The edge to MongoDB's asynchronous driver: its types, and how clients are opened and closed.

The only module that imports Motor, so that another driver is a change of this package alone. Motor runs each call in a
thread of one pool. That has five threads a core by itself, too few: slow calls would starve renewals. Its size is read
from the environment at import only, so it is replaced here before the first call.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

from motor.frameworks import asyncio as motor_pool
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)

from acked_common.store.mongo.documents import Document

Client: TypeAlias = "AsyncIOMotorClient[Document]"
Database: TypeAlias = "AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncIOMotorCollection[Document]"
Session: TypeAlias = AsyncIOMotorClientSession

DRIVER_THREADS = 64
"""Calls of a process that are under way at once, over all of its clients."""


def open_client(url: str, options: Mapping[str, Any]) -> Client:
    """Opens a client that connects with its first call."""
    _size_thread_pool()
    return AsyncIOMotorClient(url, **options)


async def close_clients(*clients: Client) -> None:
    """Closes clients at once. Each tells its server that its sessions end, and waits for that in a thread: a server
    that does not respond must not stop the event loop."""
    await asyncio.gather(*(asyncio.to_thread(client.close) for client in clients))


def _size_thread_pool() -> None:
    if motor_pool.max_workers != DRIVER_THREADS:
        # Also what the driver makes a new pool of after a fork.
        motor_pool.max_workers = DRIVER_THREADS
        motor_pool._reset_global_executor()  # type: ignore[no-untyped-call]
