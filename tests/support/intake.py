"""The endpoint of intake over parts in memory."""

import json

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.env import Env
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.request.routes import ProcessEndpoint
from acked_intake.settings import CommitLimits, Quotas, read_settings
from support.asgi import Answer, call
from support.factories import kind_record
from support.memory_broker import MemoryBroker
from support.memory_store import MemoryStore
from support.parts import admission

PORT = 9123
MAX_BODY_BYTES = 2048


class IntakeBench:
    """The endpoint over parts in memory."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        settings = read_settings(Env({"ACKED_GATEWAY_PORT": str(PORT), "ACKED_MAX_BODY_BYTES": str(MAX_BODY_BYTES)}))
        clock = SharedClock()
        self.store = MemoryStore(clock)
        self.kinds = KindCache(self.store)
        self.monitor = StoreMonitor(self.store, clock)
        self.bundle_publisher = BundlePublisher(MemoryBroker(), self.kinds)
        self.quota = QuotaCounter(self.store, quotas or Quotas(0, 0))
        commit = GroupCommit(JobWriter(self.store, self.bundle_publisher.offer), CommitLimits())
        keyed_commit = KeyedCommit(commit, self.store, answer_within_s=1.8)
        acceptance = Acceptance(
            *(commit, keyed_commit, self.store, self.kinds, self.monitor, clock, settings.common.times),
            admission(self.store, self.kinds, self.quota),
        )
        self.endpoint = ProcessEndpoint(acceptance, settings)

    async def begin(self) -> None:
        """Register the kind `demo` and look once at everything."""
        await self.store.ensure_schema()
        await self.store.register_kinds([kind_record("demo", "demo")])
        await self.monitor.look()
        await self.kinds.refresh()
        await self.quota.count()

    async def post(self, body: object = None, **headers: str) -> Answer:
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kept = {name.replace("_", "-"): v for name, v in headers.items()}
        if body is not None:
            kept = {"content-type": "application/json", **kept}
        return await call(self.endpoint, "POST", "/process", raw, headers=kept)
