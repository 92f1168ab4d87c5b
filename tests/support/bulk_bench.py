"""Gateways that carry out bulk actions over one store in memory, each with a life of its own."""

import asyncio
from typing import Any
from uuid import UUID

from acked_common.background.job_writer import JobWriter
from acked_common.model.bulk_actions import BulkAction, BulkPlan
from acked_common.model.ids import new_id
from acked_common.store.bulk_actions import Added, ChoiceStore
from acked_common.store.records import Job
from acked_gateway.bulk import rules
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.runner import BulkRunner
from acked_gateway.jobs.acts import Acts
from support.bulk import Life, failed_in_group, mortal, plan_of
from support.factories import ManualClock
from support.memory_store import MemoryStore
from support.parts import BOUND_S, common_settings

PAGE = 7
"""Jobs of a page, where a test makes pages small."""
ACTS = Acts(common_settings().times)


class Bench:
    """A store in memory, and gateways over it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.published: list[UUID] = []
        self.stopped: list[tuple[str, UUID, int]] = []

    def gateway(self, life: Life | None = None, *, name: str | None = None) -> BulkRunner:
        life = life or Life()
        moved_by = self.pages(mortal(self.store.choices(), life), life)
        return BulkRunner(mortal(self.store.bulk_actions(), life), moved_by, self.clock, owner=name or str(new_id()))

    def pages(self, choices: ChoiceStore, life: Life | None = None) -> Pages:
        writer = JobWriter(
            mortal(self.store, life or Life()), lambda jobs: self.published.extend(job_id for job_id, _, _ in jobs)
        )
        return Pages(
            choices,
            writer,
            self.clock,
            ACTS,
            lambda boot, job_id, attempt: self.stopped.append((boot, job_id, attempt)),
        )

    async def failed(self, count: int, **fields: Any) -> list[Job]:
        at = self.clock.now()
        return [await failed_in_group(self.store, at=at, **fields) for _ in range(count)]

    async def add(self, action: BulkAction, ids: list[UUID] | None = None) -> BulkAction:
        assert await self.store.bulk_actions().add(action, ids or []) is Added.ADDED
        return action

    async def get(self, action: BulkAction) -> BulkAction:
        found = await self.store.bulk_actions().get(action.id, tenant=action.order.tenant)
        assert found is not None
        return found

    def plan(self, jobs: list[Job]) -> BulkPlan:
        return plan_of(jobs, self.clock.now())


async def idle(gateway: BulkRunner) -> None:
    """Return once the gateway holds no action."""
    async with asyncio.timeout(BOUND_S):
        while gateway.held:  # noqa: ASYNC110 - it sets no event of ours
            await asyncio.sleep(0)


async def carried_out(bench: Bench, action: BulkAction) -> BulkAction:
    gateway = bench.gateway()
    await gateway.take()
    await idle(gateway)
    return await bench.get(action)


def moves_of(job: Job, action: BulkAction) -> int:
    return sum(entry.by is not None and entry.by.via == rules.via(action) for entry in job.history)
