"""The routes of jobs, their commands and workers, over parts in memory."""

from typing import Any

from starlette.applications import Starlette

from acked_common.api.hints import Hints
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.command_routes import command_routes
from acked_gateway.jobs.commands import Commands
from acked_gateway.jobs.edits import Edits
from acked_gateway.jobs.intake_client import IntakeClient
from acked_gateway.jobs.routes import Reads, job_routes
from acked_gateway.workers.channel import WorkerChannel
from acked_gateway.workers.command_router import CommandRouter
from acked_gateway.workers.routes import worker_routes
from support.asgi import Answer, call
from support.factories import ManualClock
from support.memory_broker import MemoryBroker
from support.parts import ShakyStore, common_settings


class NoLines(WorkerChannel):
    """No worker is connected."""

    def __init__(self) -> None:
        pass


class JobRoutesBench:
    """The routes over parts in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        bundle_publisher = BundlePublisher(MemoryBroker(), KindCache(self.store))
        audit, writer = Audit(self.store.audit(), self.clock), JobWriter(self.store, bundle_publisher.offer)
        parts = self.store, writer, audit
        times = common_settings().times
        commands = Commands(*parts, self.clock, times, waits=self.store.ledgers())
        edits = Edits(*parts, IntakeClient("http://127.0.0.1:1"), self.clock, times)
        self.reads = Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts")
        workers = WorkerCache(self.store, seen_within_s=24.0)
        looks = QueueLooks(self.store, self.store, self.clock)
        hints = Hints(workers, KindCache(self.store), looks, self.clock, PauseCache(self.store))
        self.app = Starlette(
            routes=[
                *job_routes(
                    self.store, hints, Reads(self.reads), self.clock, self.store.load_tests(), self.store.ledgers()
                ),
                *command_routes(commands, edits),
                *worker_routes(self.store, workers, CommandRouter(NoLines()), audit),
            ],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def get(self, target: str) -> Answer:
        return await call(self.app, "GET", target)

    async def post(self, target: str, body: bytes = b"") -> Answer:
        return await call(self.app, "POST", target, body)

    async def listed(self, query: str = "") -> Any:
        response = await self.get(f"/jobs{query}")
        assert response.status == 200, response.body
        return response.json
