"""The collector: gives ledgers their end once their job has ended. It runs in every intake and gateway; one has the
turn.

Each ledger is looked at a day after its open, and then daily. MongoDB deletes what has reached its end.
"""

from prometheus_client import Counter

from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.store.ledgers import LedgerKeeper
from acked_common.store.parked import ParkedStore

COLLECTING = "collect ledgers"
EVERY_S = 15.0
PAGE = 500
PAGES = 30
TURN_S = 10.0

_ended = Counter("acked_ledgers_ended_total", "Ledgers that got their end, because their job has ended.")


class LedgerCollector:
    """The collector of one process."""

    def __init__(self, turns: ParkedStore, ledgers: LedgerKeeper, clock: Clock) -> None:
        self._turns = turns
        self._ledgers = ledgers
        self._clock = clock

    def start(self, tasks: Tasks) -> None:
        """Start to collect."""
        tasks.repeat("collect ledgers", self.collect, every_s=EVERY_S)

    async def collect(self) -> None:
        """Look at ledgers that are due, a bounded number of pages."""
        if not await self._turns.take_turn(COLLECTING, for_s=TURN_S):
            return
        until = self._clock.monotonic() + TURN_S / 2
        for _ in range(PAGES):
            page = await self._ledgers.collect_ledgers(limit=PAGE, at=self._clock.now())
            _ended.inc(page.ended)
            if page.looked_at < PAGE or self._clock.monotonic() >= until:
                return
