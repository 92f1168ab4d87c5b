"""Collaborators of a unit under test: settings, a store that fails or blocks on demand, and tasks."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from acked_common.background.kind_cache import KindCache
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.schema_cache import SchemaCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.runtime.clock import Clock
from acked_common.runtime.env import Env
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import CommonSettings, read_common
from acked_common.store.errors import StoreUnavailable
from acked_intake.accept.acceptance import Admission
from acked_intake.accept.endpoint_cache import EndpointCache
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.settings import Quotas
from support.memory_store import MemoryStore

BOUND_S = 5.0


def common_settings(**variables: object) -> CommonSettings:
    """Return the defaults; `lease_s=3` stands for `ACKED_LEASE_S=3`."""
    env = Env({f"ACKED_{name.upper()}": str(value) for name, value in variables.items()})
    settings = read_common(env)
    env.finish()
    return settings


def admission(store: MemoryStore, kinds: KindCache, quota: QuotaCounter | None = None) -> Admission:
    """Return what refuses requests at intake, over a store in memory; without a quota, no limit."""
    schemas = SchemaCache(kinds, WorkerCache(store, seen_within_s=24.0))
    endpoints = EndpointCache(store.callback_endpoints(), time.monotonic)
    return Admission(quota or QuotaCounter(store, Quotas(0, 0)), PayloadCheck(schemas), endpoints)


class ShakyStore(MemoryStore):
    """The in-memory store with failures and delays, as real stores have them.

    `failures` maps a verb's name to errors that its next calls raise; `holds` maps it to an event that its calls await
    before they do anything; `calls` lists the called verbs in order.
    """

    VERBS = frozenset(
        {
            *(
                "insert",
                "key_holder",
                "get",
                "get_many",
                "histories",
                "claim",
                "apply",
                "renew",
                "live_jobs",
                "revisions",
                "kinds",
            ),
            *("take_turn", "reserve", "give_back", "extend_waits", "pauses"),
            *("refresh_worker", "request_drain", "forget_worker"),
            *(
                "raise_watermark",
                "watermarks",
                "server_time",
                "database_id",
                "workers",
                "report_progress",
                "list_jobs",
                "count_batch",
                "list_batches",
                "batch_ends",
            ),
            *("count_waiting", "count_waiting_by_tenant"),
            *("count_census", "write_census", "read_census", "read_attention", "known_group", "note_group"),
            *("add_minutes", "minutes", "queued_by_kind"),
        }
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.failures: dict[str, list[Exception]] = {}
        self.holds: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.is_away = False
        self.changed = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ShakyStore.VERBS:
            return found
        return lambda *args, **kwargs: self._through(name, found, args, kwargs)

    async def _through(self, verb: str, call: Callable[..., Awaitable[Any]], args: Any, kwargs: Any) -> Any:
        self.calls.append(verb)
        self.changed.set()
        if self.is_away:
            raise StoreUnavailable("the store is away")
        if (hold := self.holds.get(verb)) is not None:
            await hold.wait()
        if self.failures.get(verb):
            raise self.failures[verb].pop(0)
        return await call(*args, **kwargs)

    async def until_called(self, verb: str, times: int = 1) -> None:
        """Return once the verb was called `times` times."""
        async with asyncio.timeout(BOUND_S):
            while self.calls.count(verb) < times:
                self.changed.clear()
                await self.changed.wait()


async def settle(turns: int = 20) -> None:
    """Run everything that is ready: some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)


@asynccontextmanager
async def running_tasks() -> AsyncIterator[Tasks]:
    """Yield tasks that are cancelled at the end."""
    tasks = Tasks()
    try:
        yield tasks
    finally:
        await tasks.cancel_all()
