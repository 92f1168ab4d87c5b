"""Puts the worker together, and takes it down in the order that loses nothing."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import msgspec

from acked import Kind
from acked_common.api.metrics_server import MetricsServer
from acked_common.api.readiness import Readiness
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.kind_cache import KindCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.background.transitions import Transitions
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.lane_consumer import LaneConsumer
from acked_common.broker.rabbitmq.publisher import RabbitPublisher
from acked_common.channel.frames import Cancel, Hello
from acked_common.channel.worker_end import Command, hello_of
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.ids import new_id
from acked_common.model.instants import rfc3339
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.lifetime import Lifetime, Tasks
from acked_common.runtime.logs import get_log
from acked_common.runtime.settings import WORKER_STORE_TIMEOUT_S
from acked_common.store.errors import StoreError
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import KindRecord, ProgressReport, WorkerRecord
from acked_worker.consume.claimed_jobs import claimed_event
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.lane_runner import LaneRunner
from acked_worker.consume.lane_state import LaneSettings
from acked_worker.consume.slots import LaneSlots, Slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.outcome import Ending, Interrupted, InterruptReason
from acked_worker.handlers.registration import kind_records, lanes_of, unserved, worker_version
from acked_worker.health import health_server
from acked_worker.isolate.fork_server_client import ForkServerProcess
from acked_worker.process.watchdog import Watchdog
from acked_worker.record.leases import Leases
from acked_worker.record.outcome_rules import Defaults
from acked_worker.record.recorder import Recorder
from acked_worker.report.reporter import Reporter
from acked_worker.runners import Runners
from acked_worker.settings import WorkerSettings

log = get_log(__name__)

REGISTER_EVERY_S = 30.0
PRESENCE_EVERY_S = 2.0
SECOND_S = 1.0
STUCK = "handlers are stuck"
UNRECORDED = "outcomes wait to be recorded"
DRAIN = "draining"
CLAIM_WITHIN_S = 5.0
RECORD_WITHIN_S = 5.0


class WorkerService:
    """One worker process."""

    def __init__(
        self, settings: WorkerSettings, kinds: Mapping[str, Kind], host: ForkServerProcess | None = None
    ) -> None:
        """`host`: that of suspects, where it was started already."""
        common = settings.common
        self._settings = settings
        self._boot = str(new_id())
        self._clock = SharedClock()
        self._store = MongoStore(
            common.servers.mongo_url, common.servers.database, app_name="acked-worker", timeout_s=WORKER_STORE_TIMEOUT_S
        )
        self._monitor = StoreMonitor(self._store, self._clock)
        self._since_at = self._clock.now()
        self._records = kind_records(kinds, settings.capacity, seen_at=self._since_at)
        self._kind_table = KindCache(self._store, self._clock.monotonic, known=self._records)
        self._publisher = RabbitPublisher(common.servers.amqp_url, name=settings.name)
        self._bundle_publisher = BundlePublisher(self._publisher, self._kind_table)
        self._consuming = BrokerConnection(common.servers.amqp_url, name=f"{settings.name} consume")
        self._probing = BrokerConnection(common.servers.amqp_url, name=f"{settings.name} probe")
        self._running = InFlightAttempts()
        self._slots = {is_async: Slots(settings.capacity.slots_for(is_async=is_async)) for is_async in (True, False)}
        self._suspect_slots = Slots(settings.capacity.slots)
        self._runners = Runners(settings, kinds, on_ended=self._on_ended, on_progress=self._on_progress, host=host)
        self._recorder = Recorder(
            self._store,
            Transitions(self._store, self._bundle_publisher.offer),
            self._running,
            self._record_of,
            Defaults(common.times.grace_s, common.times.expires_in_s, common.times.retention_s),
            self._clock,
            self._report,
            self._on_room,
        )
        self._reporter = Reporter(
            settings.gateways.urls, settings.gateways.secret, hello=self._hello, on_command=self._on_command
        )
        self._stop = asyncio.Event()
        self._leases = Leases(
            self._store,
            self._running,
            self._boot,
            common.times.lease_s,
            self._clock.monotonic,
            self._runners.interrupt,
            self._runners.fence,
        )
        self._watermarks = Watermarks(self._store)
        self._progress: dict[UUID, ProgressReport] = {}
        self._flows: dict[str, LaneRunner] = {}
        self._consumers: dict[str, LaneConsumer] = {}
        for lane, names in lanes_of(self._records.values()).items():
            self._add_lane(lane, names, is_async=all(kinds[name].is_async for name in names))
        self._beat_at = time.monotonic()
        self._able_at = time.monotonic()
        self._watchdog = Watchdog(
            {
                "plumbing loop": (settings.timeouts.watchdog_s, lambda: self._beat_at),
                "renewals": (settings.timeouts.watchdog_s, lambda: self._leases.tried_at),
                "consumers": (settings.timeouts.watchdog_s, self._consumers_came_round_at),
                "handlers": (settings.timeouts.handler_stuck_s, lambda: self._able_at),
            }
        )
        self._is_draining = False
        self._tasks = Tasks()
        self._consumer_tasks = Tasks()
        self._health = health_server(settings, self.readiness)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains."""
        self._stop = stop
        lifetime = Lifetime()
        metrics = MetricsServer(self._settings.common.listen)
        lifetime.add("metrics", start=metrics.start, stop=metrics.stop)
        lifetime.add("store", start=self._monitor.look, stop=self._store.close)
        lifetime.add("broker", stop=self._close_broker)
        lifetime.add("health", start=self._health.start, stop=self._health.stop)
        lifetime.add("loops", start=self._start_loops, stop=self._stop_loops, stop_within_s=10.0)
        lifetime.add("reporter", start=self._reporter.start, stop=self._reporter.stop)
        lifetime.add("runners", start=self._runners.start, stop=self._stop_runners, stop_within_s=12.0)
        lifetime.add("consumers", start=self._start_consumers, stop=self._stop_consumers)
        await lifetime.start()
        for warning in self._settings.common.warnings:
            log.warning(warning)
        log.info(
            "worker started",
            worker=self._settings.name,
            kinds=sorted(self._records),
            slots=self._settings.capacity.slots,
        )
        await stop.wait()
        await self.drain()
        await lifetime.stop()
        log.info("worker stopped", worker=self._settings.name, finished=self._recorder.finished)

    def suspect_all(self) -> None:
        """One of the jobs here makes the worker stop: those that run again do so alone. On the plumbing loop."""
        for held in self._running.all():
            held.is_suspected = True

    def readiness(self) -> Readiness:
        """Ready when every lane is consumed and the leases are renewed."""
        idle = [lane for lane, consumer in self._consumers.items() if not consumer.is_consuming]
        renewed_s = self._clock.monotonic() - self._leases.renewed_at
        lease_s = self._settings.common.times.lease_s
        return Readiness(
            {
                "mongodb": self._monitor.problem,
                "lanes": self._why_idle(idle),
                "renewals": f"last one {renewed_s:.0f} s ago" if renewed_s > lease_s else None,
                "handlers": self._runners.stuck,
                "draining": "stops soon" if self._is_draining else None,
            },
            {"gateway": self._reporter.problem, "suspects": self._runners.problem},
        )

    def _why_idle(self, lanes: Sequence[str]) -> str | None:
        if lanes and not self._runners.is_prepared and self._runners.problem is not None:
            return f"not consumed yet: {self._runners.problem}"
        return f"not consumed: {', '.join(sorted(lanes))}" if lanes else None

    async def drain(self) -> None:
        """Takes no more, lets run what ends in time, and gives the rest back."""
        self._is_draining = True
        self._watchdog.stop()
        for flow in self._flows.values():
            flow.drain()
        for consumer in self._consumers.values():
            consumer.pause(DRAIN)
        log.info("draining", running=len(self._running))
        drain_until = self._clock.monotonic() + self._settings.timeouts.drain_s
        try:
            async with asyncio.timeout(CLAIM_WITHIN_S):
                for flow in self._flows.values():
                    await flow.wait_claimed()
        except TimeoutError:
            log.warning("a claim is still under way; its lease will bring the jobs back")
        # What is in hand and not claimed goes to the other workers now.
        await self._stop_consumers()
        await self._runners.wait_idle(max(0.0, drain_until - self._clock.monotonic()))
        for held in self._running.all():
            if not held.ended:
                self._runners.interrupt(held, InterruptReason.DRAINED)

    def _add_lane(self, lane: str, names: Sequence[str], *, is_async: bool) -> None:
        common = self._settings.common
        lane_settings = LaneSettings(
            lane,
            {name: self._records[name] for name in names},
            worker=self._settings.name,
            boot=self._boot,
            lease_s=common.times.lease_s,
            hold_s=self._settings.timeouts.hold_s,
        )
        slots = LaneSlots(lane, self._slots[is_async], self._suspect_slots)
        flow = LaneRunner(lane_settings, self._store, slots, self._running, self._watermarks, self._clock, self)
        consumer = LaneConsumer(self._consuming, self._probing, lane, 1, flow.on_delivery)
        flow.attach(consumer)
        self._flows[lane] = flow
        self._consumers[lane] = consumer

    def _record_of(self, kind: str) -> KindRecord:
        return self._records[kind]

    async def _start_loops(self) -> None:
        settings = self._settings
        self._monitor.start(self._tasks)
        self._tasks.repeat("register kinds", self._register, every_s=REGISTER_EVERY_S)
        self._kind_table.start(self._tasks)
        self._bundle_publisher.start()
        self._tasks.repeat("renewals", self._renew, every_s=settings.common.times.renewal_s)
        self._tasks.repeat("gate", self._beat_fence, every_s=self._runners.beat_every_s)
        self._tasks.repeat(
            "presence", self._refresh_presence, every_s=min(PRESENCE_EVERY_S, settings.common.times.renewal_s)
        )
        self._tasks.repeat("watermarks", self._watermarks.write, every_s=SECOND_S)
        self._tasks.repeat("progress", self._write_progress, every_s=SECOND_S)
        self._tasks.repeat("beat", self._beat, every_s=SECOND_S)
        self._watchdog.start()

    async def _stop_loops(self) -> None:
        await self._tasks.cancel_all()
        try:
            await self._store.forget_worker(self._boot)
        except StoreError:
            pass
        await self._bundle_publisher.stop()

    async def _stop_runners(self) -> None:
        await self._runners.close()
        try:
            async with asyncio.timeout(RECORD_WITHIN_S):
                await self._recorder.wait_recorded()
        except TimeoutError:
            log.warning("outcomes left unrecorded; their leases will bring the jobs back", jobs=len(self._running))
        await self._recorder.stop()

    async def _renew(self) -> None:
        await self._leases.renew()
        self._runners.beat()

    async def _beat_fence(self) -> None:
        if self._runners.beat():
            log.warning("the process stood still for longer than its leases; its handlers wait for a renewal")
            await self._renew()

    async def _start_consumers(self) -> None:
        for lane, consumer in self._consumers.items():
            self._consumer_tasks.spawn(self._consume(consumer), f"lane {lane}")

    async def _consume(self, consumer: LaneConsumer) -> None:
        # A lease that is given by a clock of its own may be over at once, or last for hours.
        await self._monitor.wait_measured()
        # A suspect that is claimed while its process still imports the handlers would wait under a lease.
        await self._runners.wait_prepared()
        await consumer.run()

    async def _stop_consumers(self) -> None:
        await self._consumer_tasks.cancel_all()
        for flow in self._flows.values():
            await flow.stop()
        for consumer in self._consumers.values():
            await consumer.close()

    async def _close_broker(self) -> None:
        await self._publisher.close()
        await self._consuming.drop()
        await self._probing.drop()

    async def _register(self) -> None:
        now = self._clock.now()
        await self._store.register_kinds([replace(r, seen_at=now) for r in self._records.values()])
        since = now - timedelta(seconds=2 * REGISTER_EVERY_S)
        for lane, kinds in unserved(self._records, self._kind_table.all(), since=since).items():
            log.warning(
                "jobs of a shared lane wait: load these handlers here, or name other lanes", lane=lane, kinds=kinds
            )

    async def _refresh_presence(self) -> None:
        drain_requested = await self._store.refresh_worker(
            WorkerRecord(
                boot=self._boot,
                name=self._settings.name,
                kinds=tuple(sorted(self._records)),
                slots=self._settings.capacity.slots,
                running=len(self._running),
                finished=self._recorder.finished,
                version=worker_version(),
                since_at=self._since_at,
                seen_at=self._clock.now(),
            )
        )
        if drain_requested:
            self._stop.set()

    def _consumers_came_round_at(self) -> float:
        if not self._monitor.is_measured or not self._runners.is_prepared:
            # They wait for MongoDB or for an import, which is no reason to end the process.
            return time.monotonic()
        return min((consumer.tried_at for consumer in self._consumers.values()), default=time.monotonic())

    async def _beat(self) -> None:
        """Notes that the plumbing lives, and whether handlers can start; while they can't, nothing more is taken."""
        self._beat_at = time.monotonic()
        stuck = self._runners.stuck
        if stuck is None or not self._runners.fence.is_open:
            self._able_at = self._beat_at
        for consumer in self._consumers.values():
            if stuck is not None:
                consumer.pause(STUCK)
            else:
                consumer.resume(STUCK)

    def _on_ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        found: list[tuple[InFlight, Ending]] = []
        for assignment, ending in ended:
            held = self._running.get(assignment.id, assignment.attempt)
            if held is None:
                continue
            held.ended = True
            self._flows[held.lane].note_ended(held)
            found.append((held, ending))
        self._recorder.record(found)

    def _on_progress(self, reports: list[tuple[str, int, object]]) -> None:
        at = rfc3339(self._clock.now())
        told: list[ProgressEvent] = []
        for job_id, attempt, value in reports:
            held = self._running.get(job_id, attempt)
            if held is not None and isinstance(value, dict):
                text = msgspec.json.encode({**value, "at": at})
                self._progress[held.job.id] = ProgressReport(held.job.id, attempt, held.nonce, text)
                told.append(ProgressEvent(held.job.id, attempt, text, held.nonce))
        self._reporter.progress(told)

    async def _write_progress(self) -> None:
        reports, self._progress = self._progress, {}
        await self._store.report_progress(list(reports.values()))

    def _on_room(self, has_room: bool) -> None:
        """Results that MongoDB takes more slowly than handlers make them must not fill the memory."""
        for consumer in self._consumers.values():
            if has_room:
                consumer.resume(UNRECORDED)
            else:
                consumer.pause(UNRECORDED)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self._runners.submit(assignments)

    def claimed(self, held: Sequence[InFlight]) -> None:
        self._report([claimed_event(one.job) for one in held])
        for one in held:
            if one.job.cancel_requested_at is not None:
                self._cancel(one)

    def late(self, held: Sequence[InFlight]) -> None:
        log.warning("claimed too late to start; given back", jobs=len(held))
        self._recorder.record([(one, Interrupted(InterruptReason.NOT_STARTED)) for one in held])

    def _report(self, events: Sequence[JobEvent]) -> None:
        self._reporter.report(events)

    def _hello(self, stream: int) -> Hello:
        return hello_of(
            boot=self._boot,
            worker=self._settings.name,
            kinds=sorted(self._records),
            version=worker_version(),
            slots=self._settings.capacity.slots,
            stream=stream,
        )

    def _on_command(self, command: Command) -> None:
        if isinstance(command, Cancel):
            for job in command.jobs:
                held = self._running.get(str(job.id), job.attempt)
                if held is not None:
                    self._cancel(held)
        else:
            log.info("asked to drain")
            self._stop.set()

    def _cancel(self, held: InFlight) -> None:
        if not held.ended and not held.cancelling:
            held.cancelling = True
            self._runners.interrupt(held, InterruptReason.CANCELLED)
