"""The interface to MongoDB's asynchronous driver: its types, and opening and closing clients.

Only this module imports Motor, so replacing the driver changes only this package. Motor runs each call in a thread of
one pool. Its default of five threads per core is too small: slow calls would starve renewals. Motor reads the size from
the environment only at import, so this module replaces the pool before the first call.
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
"""Concurrent calls of a process, over all of its clients."""


def open_client(url: str, options: Mapping[str, Any]) -> Client:
    """Open a client, which connects with its first call."""
    _size_thread_pool()
    return AsyncIOMotorClient(url, **options)


async def close_clients(*clients: Client) -> None:
    """Close clients at once. Each ends its sessions on the server in a thread, so that an unresponsive server does not
    block the event loop."""
    await asyncio.gather(*(asyncio.to_thread(client.close) for client in clients))


def _size_thread_pool() -> None:
    if motor_pool.max_workers != DRIVER_THREADS:
        # The driver also uses this to make a new pool after a fork.
        motor_pool.max_workers = DRIVER_THREADS
        motor_pool._reset_global_executor()  # type: ignore[no-untyped-call]
