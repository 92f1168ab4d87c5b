"""A sweeper with in-memory collaborators and a manual clock."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.sweeper import Sweeper
from acked_common.broker import BrokerError
from acked_common.model import lifecycle
from acked_common.model.bundle import Bundle
from acked_common.store.records import Job
from support.factories import ManualClock, moved, owner, queued
from support.memory_broker import MemoryBroker
from support.parts import ShakyStore, common_settings, settle

RENEWAL_S = common_settings().times.renewal_s


class Broker(MemoryBroker):
    """A broker that rejects bundles for the lanes in `refused`."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.blind: set[str] = set()
        """Lanes whose depth can't be read."""
        self.hangs = False
        self.probed: list[str] = []

    async def publish(self, bundle: Bundle) -> None:
        if bundle.lane in self.refused:
            raise BrokerError("refused")
        if self.hangs:
            await asyncio.Event().wait()
        await super().publish(bundle)

    async def ready_bundles(self, lane: str) -> int:
        self.probed.append(lane)
        if lane in self.blind:
            raise BrokerError("made by somebody else")
        return await super().ready_bundles(lane)


class Bench:
    """A sweeper with in-memory collaborators and a manual clock."""

    def __init__(self, **variables: object) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.broker = Broker()
        self.settings = common_settings(**variables)
        self.kinds = KindCache(self.store)
        self.pauses = PauseCache(self.store)
        self.sweeper = self.another()

    @classmethod
    async def ready(cls, **variables: object) -> "Bench":
        """Return a bench whose kinds were read, as in a process before its sweeper starts."""
        made = cls(**variables)
        await made.kinds.refresh()
        made.store.calls.clear()
        return made

    def another(self) -> Sweeper:
        """Return the sweeper of another process."""
        publisher = BundlePublisher(self.broker, self.kinds)
        transitions = JobWriter(self.store, publisher.offer)
        return Sweeper(
            self.store,
            transitions,
            publisher,
            self.broker,
            self.kinds,
            self.pauses,
            self.clock,
            self.settings.times,
        )

    async def queued(self, waits_s: float = 60.0, **fields: object) -> Job:
        """Insert a job that has waited for `waits_s`."""
        return await queued(self.store, at=self.clock.now() - timedelta(seconds=waits_s), **fields)

    async def running(self, *, expired_s: float = 1.0, **fields: object) -> Job:
        """Insert a job whose lease expired `expired_s` ago."""
        job = await self.queued(**fields)
        return await self.lose_again(job, expired_s)

    async def lose_again(self, job: Job, expired_s: float = 1.0) -> Job:
        claim = lifecycle.claim(at=self.clock.now(), owner=owner(), lease_s=-expired_s)
        return await moved(self.store, job, claim)

    def published(self, lane: str = "demo") -> list[UUID]:
        """Return what was published since the last call."""
        found: list[UUID] = []
        while (bundle := self.broker.take(lane)) is not None:
            found += bundle.ids
        return found

    async def trust_leases(self) -> None:
        """Let the store be available for long enough to trust leases."""
        for _ in range(8):
            await self.sweeper.sweep_running()
            self.clock.advance(RENEWAL_S / 2)

    async def sweep_running(self) -> None:
        await self.sweeper.sweep_running()
        await settle()

    async def take_all_before(self, at: datetime, lane: str = "demo") -> None:
        """Set the lane's watermark: workers have taken what was queued until then."""
        await self.store.raise_watermark(lane, at)

    async def look_and_sweep(self) -> None:
        await self.sweeper.sweep_queued()
        await self.sweeper.look_at_lanes()
        await self.sweeper.sweep_queued()

    async def look_at_empty_lanes(self, times: int) -> None:
        for _ in range(times):
            await self.sweeper.sweep_queued()
            await self.sweeper.look_at_lanes()
            self.clock.advance(1.0)
