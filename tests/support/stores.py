"""Stores that reach their server through a proxy, so that a test can lose responses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from acked_common.store.mongo.store import MongoStore
from support.tcp_proxy import Proxy


@asynccontextmanager
async def store_behind(
    proxy: Proxy, database: str, *, app_name: str, timeout_s: float, mongo_url: str = ""
) -> AsyncIterator[MongoStore]:
    """Yield an empty store with a call timeout of `timeout_s`; `mongo_url` names the account, if any."""
    account, at, _ = mongo_url.removeprefix("mongodb://").rpartition("@")
    source = "&authSource=admin" if at else ""
    url = f"mongodb://{account}{at}127.0.0.1:{proxy.port}/?directConnection=true{source}"
    store = MongoStore(url, database, app_name=app_name, timeout_s=timeout_s)
    await store.ensure_schema()
    yield store
    await store.close()
