"""An executor whose handlers can make durable calls, over ledgers in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.ledger import JobLedger
from acked_common.outcomes.outcome import Ending, InterruptReason
from acked_common.runtime.clock import SharedClock
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from acked_worker.durable.bridge import LedgerAccess
from support.executor import Bench, assignment, kind
from support.fields import filled
from support.memory_ledgers import MemoryLedgers

JOB = replace(filled(ClaimedJob), run=1, failures=0)


class DurableBench(Bench):
    """An executor, and the ledgers of its attempts."""

    def __init__(self, settle_s: float = 0.05) -> None:
        super().__init__()
        self.clock = SharedClock()
        self.store = MemoryLedgers({}, self.clock)
        self.running = InFlightAttempts()
        self.desk = AttemptLedgers(self.store, self.running, lambda kind: "7", self._lost, self.clock)
        self.access = LedgerAccess(self.desk, self.clock, settle_s)

    def begin(self, function: Callable[..., Any], attempt: int = 1, **fields: Any) -> InFlight:
        """Run a handler as an attempt of the one job."""
        if not hasattr(self, "executor"):
            self.start(kind("long", function), ledgers=self.access.port)
        held = InFlight(replace(JOB, attempt=attempt, nonce=f"claim-{attempt}"), "lane", 0.0)
        self.running.add([held])
        self.submit(assignment("long", held.id, attempt=attempt, **fields))
        return held

    async def ending_of(self, held: InFlight) -> Ending:
        """Wait for the ending of an attempt."""
        found = await self.ending(held.id, held.job.attempt)
        held.ended = True
        self.desk.end((held.id, held.job.attempt))
        return found

    async def ledger(self) -> JobLedger:
        """Return the job's ledger."""
        found = await self.store.read_ledger(UUID(str(JOB.id)), tenant=JOB.tenant)
        assert found is not None
        return found

    async def kept(self) -> set[str]:
        """Return the names of what is kept."""
        found = await self.store.read_ledger(UUID(str(JOB.id)), tenant=JOB.tenant)
        return set() if found is None else {entry.name for entry in found.entries.values()}

    def _lost(self, held: InFlight) -> None:
        self.executor.interrupt(held.id, held.job.attempt, InterruptReason.LEASE_LOST)


@asynccontextmanager
async def open_durable_bench() -> AsyncIterator[DurableBench]:
    """Yield a bench; close its executor at the end."""
    made = DurableBench()
    try:
        yield made
    finally:
        if hasattr(made, "executor"):
            await made.executor.close(1.0)
        await made.desk.stop()
    ended = [(one.id, one.attempt) for one, _ in made.endings]
    assert len(ended) == len(set(ended)), "an attempt had two endings"
