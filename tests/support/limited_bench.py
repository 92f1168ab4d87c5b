"""Lanes of workers that share a kind with a limit, on a store in memory that counts commands and fails on demand."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from acked_common.model import lifecycle
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move
from acked_common.model.limits import KindLimit
from acked_common.store.errors import OutcomeUnknown, StoreUnavailable
from acked_common.store.limits import PlacedClaim
from acked_common.store.mongo.field_names import HELD
from acked_common.store.records import ClaimedJob, Job
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.lane_runner import LaneRunner
from acked_worker.consume.lane_state import LaneSettings
from acked_worker.consume.limited_claims import LaneLimits
from acked_worker.consume.slots import LaneSlots, Slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment
from support.factories import LEASE_S, RETENTION_S, ManualClock, insert, kind_record, new_job
from support.lane_bench import Consumer, Delivery
from support.memory_store import MemoryStore
from support.parts import settle

KINDS = ("demo", "free")


class Counted(MemoryStore):
    """Counts its commands, lets other tasks run before each, and fails on demand."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.commands: Counter[str] = Counter()
        self.chance: random.Random | None = None
        self.loses_replies = 0
        """So many claims take effect, and their replies are lost."""
        self.is_away = False

    async def note(self, name: str) -> None:
        self.commands[name] += 1
        if self.is_away:
            raise StoreUnavailable("no server responds")
        if self.chance is not None:
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)

    async def read_places(self, kinds: Any) -> Any:
        await self.note("read_places")
        return await super().read_places(kinds)

    async def queued_jobs(self, ids: Any, *, kinds: Any) -> Any:
        await self.note("queued_jobs")
        return await super().queued_jobs(ids, kinds=kinds)

    async def held_jobs(self, kind: str, *, without: Any, limit: int) -> Any:
        await self.note("held_jobs")
        return await super().held_jobs(kind, without=without, limit=limit)

    async def hold_jobs(self, ids: Sequence[UUID]) -> None:
        await self.note("hold_jobs")
        await super().hold_jobs(ids)

    async def claim(self, *args: Any, **options: Any) -> list[ClaimedJob]:
        await self.note("claim")
        return await super().claim(*args, **options)

    async def claim_placed(self, claim: PlacedClaim) -> list[ClaimedJob]:
        await self.note("claim_placed")
        found = await super().claim_placed(claim)
        if self.loses_replies:
            self.loses_replies -= 1
            raise OutcomeUnknown("no reply")
        return found

    def running(self, kind: str = "demo") -> Counter[str]:
        """The tenants of its running jobs."""
        return Counter(d["tenant"] for d in self._jobs.values() if d["state"] == "running" and d["kind"] == kind)

    def held(self) -> list[UUID]:
        return [d["_id"] for d in self._jobs.values() if d.get("reserved_by") == HELD]


class Bench:
    """One lane of a worker, on a store that workers share."""

    def __init__(self, slots: int = 100, *, beside: "Bench | None" = None) -> None:
        self.clock = beside.clock if beside else ManualClock()
        self.store = beside.store if beside else Counted(self.clock)
        self.is_limited = True
        self.is_set = True
        self.slots = Slots(slots)
        self.running = InFlightAttempts()
        self.consumer = Consumer([])
        self.late_jobs: list[InFlight] = []
        records = {kind: kind_record(kind, "demo") for kind in KINDS}
        settings = LaneSettings(
            "demo",
            KINDS,
            "w",
            "b",
            KindTimes(records, lease_s=LEASE_S, renewal_s=8.0),
            hold_s=60.0,
            limits=LaneLimits(self.store, lambda: self.is_limited, lambda: self.is_set),
        )
        lane_slots = LaneSlots("demo", self.slots, Slots(10))
        self.flow = LaneRunner(settings, self.store, lane_slots, self.running, Watermarks(self.store), self.clock, self)
        self.flow.attach(self.consumer)  # type: ignore[arg-type]

    def submit(self, assignments: Sequence[Assignment]) -> None:
        pass

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        pass

    def late(self, held: Sequence[InFlight]) -> None:
        self.late_jobs += held

    async def limit(self, running: int | None, per_tenant: int | None = None) -> None:
        await self.store.register_kinds([kind_record(kind, "demo") for kind in KINDS])
        await self.store.limit_kind("demo", KindLimit(running, per_tenant, "ann", None, None, self.clock.now()))
        self.is_set = running is not None or per_tenant is not None

    async def jobs(self, count: int, *, tenant: str = "a", kind: str = "demo") -> list[Job]:
        made = []
        for _ in range(count):
            made.append(new_job(at=self.clock.now(), tenant=tenant, kind=kind))
            self.clock.advance(0.001)
        return await insert(self.store, *made)

    async def deliver(self, jobs: Sequence[Job]) -> Delivery:
        delivery = Delivery(Bundle("demo", self.clock.now(), tuple(job.id for job in jobs)), [])
        self.flow.on_delivery(delivery)  # type: ignore[arg-type]
        await settle()
        return delivery

    def runs(self) -> list[UUID]:
        return [held.job.id for held in self.running.all()]

    async def end(self, *jobs: UUID) -> None:
        """Attempts end and are recorded."""
        for held in self.running.all():
            if held.job.id in jobs:
                self.flow.note_ended(held)
                await self.free(held)
        if self.flow.note_recorded(jobs):
            self.flow.pull()
        await settle()

    async def free(self, held: InFlight) -> None:
        """The end of an attempt is recorded, which frees its place."""
        self.running.remove(held)
        ended = lifecycle.succeed(at=self.clock.now(), result=b"1", retention_s=RETENTION_S)
        await self.store.apply([Move(held.job.seen, ended)])
