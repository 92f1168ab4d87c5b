"""Intake, gateway and worker as simulated processes: the shipped parts, put together as shipped.

`boundary` replaces what touches the outside: servers, threads, sockets, clocks and chance. Everything else is real.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import acked.context
import acked.durable.steps
import acked_common.background.bundle_publisher
import acked_common.background.ledger_collector
import acked_common.background.pause_cache
import acked_common.background.signal_sweeper
import acked_common.background.store_monitor
import acked_common.background.sweeper
import acked_common.broker.rabbitmq.consumer
import acked_common.broker.rabbitmq.consumer_state
import acked_common.broker.rabbitmq.lane_consumer
import acked_common.model.ids
import acked_common.service
import acked_gateway.bulk.runner
import acked_worker.app
import acked_worker.durable.bridge
import acked_worker.execute.deadlines
import acked_worker.execute.executor
import acked_worker.execute.progress
import acked_worker.execute.stall_fence
import acked_worker.handler_runner
import acked_worker.isolate.isolated_runner
import acked_worker.presence
import acked_worker.record.leases
import acked_worker.self_check
import support.memory_ledgers
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.schema_cache import SchemaCache
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.env import Env
from acked_common.service import ServiceCore
from acked_gateway.audit.notes import Audit
from acked_gateway.bulk.orders import BulkOrders
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.runner import BulkRunner
from acked_gateway.jobs.acts import Acts
from acked_gateway.jobs.commands import Commands
from acked_gateway.jobs.signals import Signals
from acked_gateway.kinds.pausing import Pausing
from acked_intake.accept.acceptance import Acceptance, Admission
from acked_intake.accept.endpoint_cache import EndpointCache
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.app import STORE_SHARE
from acked_intake.settings import Quotas
from acked_intake.settings import read_settings as read_intake
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.settings import read_settings as read_worker
from simulation import scale
from simulation.isolated_processes import SimFence, SimForkServer, open_line
from simulation.loop import STRAND, SimProcess, new_task
from simulation.sim_broker import SimProbe, SimPublisher
from simulation.sim_channel import SimConnection, declare_lane, declare_shared
from simulation.sim_store import StoreLine
from simulation.worker_parts import SimReporter, SimThreadLoop
from support.memory_callback_endpoints import MemoryCallbackEndpoints

if TYPE_CHECKING:
    from simulation.simulator import Simulator

INTAKE = read_intake(Env(scale.VARIABLES))
WORKER = read_worker(Env(scale.VARIABLES))
COMMON = WORKER.common


class Node:
    """A process with its own clock, started in its own context."""

    kind = "?"

    def __init__(self, simulator: "Simulator", name: str, clock_offset_s: float) -> None:
        self.simulator = simulator
        self.process = SimProcess(simulator.loop, name)
        self.process.clock_offset_s = clock_offset_s  # type: ignore[attr-defined]
        self.is_up = False
        self.is_leaving = False
        self.process.main.context().run(self.build)
        self.process.spawn(self.run())

    def build(self) -> None:
        """Makes the parts."""
        raise NotImplementedError

    async def run(self) -> None:
        """Starts the parts."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends the process in order."""
        raise NotImplementedError

    def held(self) -> dict[str, int]:
        """What the process still holds, by name; at rest, nothing."""
        raise NotImplementedError


class Intake(Node):
    """One intake process, without its HTTP server."""

    kind = "intake"

    def build(self) -> None:
        core = self.core = ServiceCore(
            COMMON, name="intake", store_timeout_s=INTAKE.commit.answer_within_s * STORE_SHARE
        )
        self.commit = GroupCommit(core.writer, INTAKE.commit)
        self.keyed_commit = KeyedCommit(self.commit, core.store, answer_within_s=INTAKE.commit.answer_within_s)
        # No tenant has endpoints here, and reads of them would only move the faults of all recorded seeds.
        endpoints = EndpointCache(MemoryCallbackEndpoints(), core.clock.monotonic)
        payloads = PayloadCheck(SchemaCache(core.kinds, core.workers))
        self.acceptance = Acceptance(
            self.commit,
            self.keyed_commit,
            core.store,
            core.kinds,
            core.monitor,
            core.clock,
            COMMON.times,
            Admission(QuotaCounter(core.store, Quotas(0, 0)), payloads, endpoints),
        )
        core.lifetime.add("group commit", stop=self.commit.stop, stop_within_s=4.0)
        core.lifetime.add("keyed commit", stop=self.keyed_commit.stop, stop_within_s=4.0)

    async def run(self) -> None:
        await self.core.lifetime.start()
        self.is_up = True

    def stop(self) -> None:
        self.is_up = False
        self.process.spawn(self._leave())

    async def _leave(self) -> None:
        self.core.stopping.set()
        await self.core.lifetime.stop()
        self.process.kill()

    def held(self) -> dict[str, int]:
        return {
            "bundles": self.core.bundle_publisher.waiting,
            "requests": self.commit._held_jobs,
            "keys": len(self.keyed_commit._lines),
        }


class Gateway(Node):
    """One gateway process: commands of operators, bulk actions, and a sweeper."""

    kind = "gateway"

    def build(self) -> None:
        core = self.core = ServiceCore(COMMON, name="gateway", store_timeout_s=scale.GATEWAY_TIMEOUT_S)
        audit, acts = Audit(core.store.audit(), core.clock), Acts(COMMON.times)
        stop_attempt = self.simulator.stop_attempt
        self.commands = Commands(
            core.store, core.writer, audit, core.clock, COMMON.times, stop_attempt, waits=core.store.ledgers()
        )
        actions, choices = core.store.bulk_actions(), core.store.choices()
        pages = Pages(choices, core.writer, core.clock, acts, stop_attempt)
        self.bulk_runner = BulkRunner(actions, pages, core.clock, owner=self.process.name)
        core.add_loops(
            lambda tasks: tasks.spawn(self.bulk_runner.start_when(core.monitor.wait_measured, tasks), "bulk")
        )
        core.lifetime.add("bulk actions", stop=self.bulk_runner.stop)
        self.orders = BulkOrders(choices, actions, core.clock, acts, audit=audit, wake=self.bulk_runner.wake)
        self.pausing = Pausing(core.store, core.kinds, core.pauses, audit, core.clock)
        router: Any = SimpleNamespace(signalled=self.simulator.signalled)
        self.signals = Signals(core.store, core.store.ledgers(), core.announcer, router, core.clock)
        core.lifetime.add("signals", stop=self.signals.stop)

    async def run(self) -> None:
        await self.core.lifetime.start()
        self.is_up = True

    def held(self) -> dict[str, int]:
        return {"bundles": self.core.bundle_publisher.waiting, "bulk actions": self.bulk_runner.held}


class WorkerNode(Node):
    """One worker process: the shipped worker as a whole."""

    kind = "worker"

    def build(self) -> None:
        self._stop = asyncio.Event()
        settings = replace(WORKER, name=self.process.name)
        self.worker = acked_worker.app.WorkerService(settings, self.simulator.kinds, self._stop)

    async def run(self) -> None:
        self.is_up = True
        await self.worker.run()
        self.process.kill()

    def stop(self) -> None:
        self.is_up = False
        self.process.loop.call_soon(self._stop.set, context=self.process.main.context())

    def held(self) -> dict[str, int]:
        worker, runners = self.worker, self.worker._runners
        executor = runners._executor
        return {
            "attempts": len(worker._running),
            "slots": sum(
                abs(slots.used) + abs(slots.claiming) for slots in (*worker._slots.values(), worker._isolated_slots)
            ),
            "handlers": executor.running + executor.abandoned + len(runners._suspects),
            "bundles": worker._bundle_publisher.waiting,
        }

    @property
    def boot(self) -> str:
        """The name of this very process in leases."""
        return self.worker._identity.boot


class _Nothing:
    """A part that a simulation does without."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def start(self) -> Any:
        return _done()

    def stop(self) -> Any:
        return _done()


class _Done:
    def __await__(self) -> Iterator[None]:
        return iter(())


def _done() -> _Done:
    return _Done()


def _store(url: str, database: str, *, app_name: str, timeout_s: float, claims_tenants: bool = False) -> StoreLine:
    process = STRAND.get().process
    return StoreLine(process.loop.simulation, process, timeout_s)  # type: ignore[attr-defined]


def clock_of_process() -> SharedClock:
    """As `SharedClock` of a machine whose own clock is off."""
    process = STRAND.get().process
    simulator, offset = process.loop.simulation, timedelta(seconds=process.clock_offset_s)  # type: ignore[attr-defined]

    def machine() -> datetime:
        at: datetime = simulator.time()
        return at + offset

    return SharedClock(machine=machine, monotonic=process.loop.time)


def _monotonic() -> float:
    return STRAND.get().process.loop.time()


_TIME = SimpleNamespace(monotonic=_monotonic)
_ASYNCIO = SimpleNamespace(**{**vars(asyncio), "Task": new_task})

_REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (acked_common.service, "MongoStore", _store),
    (acked_common.service, "RabbitPublisher", SimPublisher),
    (acked_common.service, "RabbitLaneProbe", SimProbe),
    (acked_common.service, "SharedClock", clock_of_process),
    (acked_common.background.sweeper, "LOOK_EVERY_S", scale.LANES_EVERY_S),
    (acked_common.background.sweeper, "REPUBLISH_AGAIN", scale.REPUBLISH_AGAIN),
    (acked_common.background.pause_cache, "READ_EVERY_S", scale.PAUSES_EVERY_S),
    (acked_common.service, "BROKER_LOOK_EVERY_S", scale.BROKER_LOOK_EVERY_S),
    (acked_common.background.bundle_publisher, "RETRY_S", scale.IDLE_S),
    (acked_common.background.store_monitor, "LOOK_EVERY_S", scale.IDLE_S),
    (acked_worker.app, "SECOND_S", scale.IDLE_S),
    (acked_gateway.bulk.runner, "TAKE_EVERY_S", scale.IDLE_S),
    # Several pages an action, and a turn of the lease only now and then.
    (acked_gateway.bulk.runner, "RENEW_EVERY_S", scale.BULK_RENEWAL_S),
    (acked_gateway.bulk.runner, "page_size", lambda rate_per_s: scale.BULK_PAGE),
    (acked_worker.presence, "REFRESH_EVERY_S", scale.IDLE_S),
    (acked_worker.app, "WORKER_STORE_TIMEOUT_S", scale.WORKER_TIMEOUT_S),
    (acked_common.background.sweeper, "WORKER_STORE_TIMEOUT_S", scale.WORKER_TIMEOUT_S),
    (acked_worker.app, "MongoStore", _store),
    (acked_worker.app, "RabbitPublisher", SimPublisher),
    (acked_worker.app, "BrokerConnection", SimConnection),
    (acked_common.broker.rabbitmq.lane_consumer, "declare_shared", declare_shared),
    (acked_common.broker.rabbitmq.lane_consumer, "declare_lane", declare_lane),
    (acked_common.broker.rabbitmq.lane_consumer, "time", _TIME),
    (acked_common.broker.rabbitmq.consumer, "time", _TIME),
    (acked_common.broker.rabbitmq.consumer_state, "ROUND_S", scale.IDLE_S),
    (acked_common.broker.rabbitmq.consumer_state, "LOOK_EVERY_S", scale.BROKER_LOOK_EVERY_S),
    (acked_worker.app, "Reporter", SimReporter),
    (acked_worker.app, "health_server", _Nothing),
    (acked_worker.self_check, "Watchdog", _Nothing),
    (acked_worker.app, "SharedClock", clock_of_process),
    (acked_worker.self_check, "time", _TIME),
    (acked_worker.handler_runner, "StallFence", SimFence),
    (acked_worker.isolate.isolated_runner, "ForkServerClient", SimForkServer),
    (acked_worker.isolate.isolated_runner, "open_line", open_line),
    (acked_worker.handler_runner, "BEATS_A_RENEWAL", scale.BEATS_A_RENEWAL),
    (acked_worker.record.leases, "since_boot", _monotonic),
    (acked_worker.execute.executor, "ThreadLoop", SimThreadLoop),
    # The fence itself, for the loop to guard its strand and its tasks with.
    (acked_worker.execute.executor, "guarding", lambda fence: fence),
    (acked_worker.execute.stall_fence, "asyncio", _ASYNCIO),
    (acked_worker.execute.executor, "time", _TIME),
    (acked_worker.execute.deadlines, "time", _TIME),
    (acked_worker.execute.progress, "time", _TIME),
    (acked.durable.steps, "time", _TIME),
    (acked.context, "time", _TIME),
    (acked_worker.durable.bridge, "PARK_OVER_S", scale.PARK_OVER_S),
    (acked_worker.app, "LedgerAccess", partial(LedgerAccess, settle_s=scale.SETTLE_S)),
    (acked_common.background.signal_sweeper, "EVERY_S", scale.IDLE_S),
    (acked_common.background.signal_sweeper, "OLDER_THAN_S", scale.PENDING_OVER_S),
    (acked_common.background.ledger_collector, "EVERY_S", scale.COLLECTS_EVERY_S),
    (support.memory_ledgers, "LOOKED_AT_AFTER", scale.LEDGERS_LOOKED_AT_AFTER),
)


@contextmanager
def boundary(seed: int, new_id: Callable[[], UUID]) -> Iterator[None]:
    """The outside of all processes of one simulation, in place of the real one."""
    replaced = (*_REPLACED, (acked_common.model.ids, "uuid_utils", SimpleNamespace(uuid7=new_id)))
    before = [getattr(module, name) for module, name, _ in replaced]
    chance = random.getstate()
    random.seed(seed)
    try:
        for module, name, stand_in in replaced:
            setattr(module, name, stand_in)
        yield
    finally:
        random.setstate(chance)
        for (module, name, _), original in zip(replaced, before, strict=True):
            setattr(module, name, original)
