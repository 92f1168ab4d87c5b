"""The collector of ledgers: bounded pages, one process at a time; and retries that keep ledgers."""

from datetime import timedelta

import pytest

from acked_common.background import ledger_collector as module
from acked_common.background.job_writer import JobWriter
from acked_common.background.ledger_collector import COLLECTING, TURN_S, LedgerCollector
from acked_common.model import interventions
from acked_common.model.lifecycle import Move
from acked_common.store.ledgers import LOOKED_AT_AFTER
from acked_common.store.records import Applied
from support.factories import EXPIRES_IN_S, GRACE_S, ManualClock, failed, succeeded
from support.ledgers import opening
from support.memory_store import MemoryStore


class Bench:
    """A collector over a store in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.ledgers = self.store.ledgers()
        self.collector = LedgerCollector(self.store, self.ledgers, self.clock)

    async def ended(self) -> None:
        job = await succeeded(self.store)
        at = self.clock.now() - 2 * LOOKED_AT_AFTER
        await self.ledgers.open_ledgers([opening(job.id)], at=at)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_ledgers_of_ended_jobs_get_their_end(bench: Bench) -> None:
    for _ in range(3):
        await bench.ended()
    await bench.collector.collect()
    assert len(bench.ledgers.ends) == 3


async def test_pages_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "PAGES", 2)
    for _ in range(5):
        await bench.ended()
    await bench.collector.collect()
    assert len(bench.ledgers.ends) == 4
    bench.clock.advance(TURN_S)
    await bench.collector.collect()
    assert len(bench.ledgers.ends) == 5


async def test_only_the_process_with_the_turn_collects(bench: Bench) -> None:
    await bench.ended()
    assert await bench.store.take_turn(COLLECTING, for_s=TURN_S)
    await bench.collector.collect()
    assert bench.ledgers.ends == {}


async def test_a_retry_keeps_the_ledger_before_the_job_moves(bench: Bench) -> None:
    job = await failed(bench.store)
    await bench.ledgers.open_ledgers([opening(job.id)], at=bench.clock.now() - timedelta(days=3))
    await bench.collector.collect()
    assert bench.ledgers.ends.keys() == {job.id}
    ends_at_move: list[int] = []
    apply = bench.store.apply

    class Watched(MemoryStore):
        """Notes the ends of ledgers at each move."""

        async def apply(self, moves: object) -> list[Applied]:
            ends_at_move.append(len(bench.ledgers.ends))
            return await apply(moves)  # type: ignore[arg-type]

    writer = JobWriter(Watched(bench.clock), lambda jobs: None, ledgers=bench.ledgers)
    at = max(bench.clock.now(), job.finished_at or bench.clock.now())
    retry = interventions.retry(at=at, grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    assert await writer.apply([Move(job.seen, retry)], [job.kind]) == [Applied.APPLIED]
    assert (ends_at_move, bench.ledgers.ends) == ([0], {})
