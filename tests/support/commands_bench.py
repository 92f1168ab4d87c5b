"""Commands of operators over parts in memory."""

from collections.abc import Sequence

import pytest

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.http.problems import ProblemError
from acked_common.model.lifecycle import Move
from acked_common.store.records import Applied
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.commands import Commands
from support.factories import ManualClock
from support.memory_broker import MemoryBroker
from support.memory_store import MemoryStore
from support.parts import common_settings


class Store(MemoryStore):
    """Moves a job behind the back of whoever is about to write."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.behind: list[Move] = []

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        if self.behind:
            await super().apply([self.behind.pop(0)])
        return await super().apply(moves)


class CommandsBench:
    """Commands over parts in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.broker = MemoryBroker()
        self.kinds = KindCache(self.store)
        self.bundle_publisher = BundlePublisher(self.broker, self.kinds)
        self.writer = JobWriter(self.store, self.bundle_publisher.offer)
        self.commands = Commands(
            self.store,
            self.writer,
            Audit(self.store.audit(), self.clock),
            self.clock,
            common_settings(retention_s=100).times,
            waits=self.store.ledgers(),
        )


def refused(caught: pytest.ExceptionInfo[ProblemError]) -> tuple[str, int]:
    """Return the problem type and the status of a refusal."""
    return caught.value.problem.name, caught.value.problem.status
