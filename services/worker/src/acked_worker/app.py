"""Composition root of the worker, and its drain in an order that loses nothing."""

import asyncio
from collections.abc import Mapping
from functools import partial

from acked import Kind
from acked_common.api.metrics_server import MetricsServer
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_metrics import begin_kinds, watch_dependencies
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.minute_writer import MinuteWriter
from acked_common.background.pause_cache import PauseCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.lane_consumer import LaneConsumer
from acked_common.broker.rabbitmq.publisher import RabbitPublisher
from acked_common.model.ids import new_id
from acked_common.outcomes.outcome import InterruptReason
from acked_common.outcomes.outcome_rules import Defaults
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.lifetime import Lifetime, Tasks
from acked_common.runtime.logs import get_log
from acked_common.runtime.settings import WORKER_STORE_TIMEOUT_S
from acked_common.store.mongo.store import MongoStore
from acked_worker.consume.in_flight import InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.lane_runner import LaneRunner
from acked_worker.consume.lane_state import LaneSettings
from acked_worker.consume.lanes import Lanes
from acked_worker.consume.limited_claims import LaneLimits
from acked_worker.consume.paused_kinds import PausedKinds
from acked_worker.consume.slots import LaneSlots, Slots
from acked_worker.consume.start_metrics import watch_slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.drain import close_runners, drain
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.delivery_secrets import DeliverySecrets
from acked_worker.execute.endpoint_notes import EndpointNotes
from acked_worker.handler_runner import HandlerRunner
from acked_worker.handlers.registration import kind_records, lanes_of
from acked_worker.health import health_server, run_file_of
from acked_worker.isolate.fork_server_client import ForkServerProcess
from acked_worker.presence import Presence, WorkerIdentity
from acked_worker.record.leases import Leases
from acked_worker.record.progress_writer import ProgressWriter
from acked_worker.record.recorder import Recorder
from acked_worker.renewals import Renewals
from acked_worker.report.reporter import Reporter
from acked_worker.self_check import SelfCheck
from acked_worker.settings import WorkerSettings
from acked_worker.switchboard import Switchboard

log = get_log(__name__)

SECOND_S = 1.0


class WorkerService:
    """One worker process: its parts, and the order in which they start and stop."""

    def __init__(
        self,
        settings: WorkerSettings,
        kinds: Mapping[str, Kind],
        stop: asyncio.Event,
        host: ForkServerProcess | None = None,
    ) -> None:
        """`stop` ends `run`; a drain that a gateway requests sets it too. `host`: the fork server, if it is already
        started."""
        common = settings.common
        self._settings = settings
        self._kinds = kinds
        self._stop = stop
        self._clock = SharedClock()
        self._store = MongoStore(
            common.servers.mongo_url,
            common.servers.database,
            app_name="acked-worker",
            timeout_s=WORKER_STORE_TIMEOUT_S,
            # Without tokens there is one tenant, so a claim need not read it.
            claims_tenants=common.access.asks_for_tokens,
        )
        self._monitor = StoreMonitor(self._store, self._clock)
        since_at = self._clock.now()
        records = kind_records(kinds, settings.capacity, seen_at=since_at)
        self._identity = WorkerIdentity(str(new_id()), settings.name, records, settings.capacity.slots, since_at)
        self._kind_cache = KindCache(self._store, self._clock.monotonic, known=records)
        self._pauses = PauseCache(self._store)
        self._publisher = RabbitPublisher(common.servers.amqp_url, name=settings.name)
        self._bundle_publisher = BundlePublisher(self._publisher, self._kind_cache)
        self._consuming = BrokerConnection(common.servers.amqp_url, name=f"{settings.name} consume")
        self._probing = BrokerConnection(common.servers.amqp_url, name=f"{settings.name} probe")

        self._running = InFlightAttempts()
        self._watermarks = Watermarks(self._store)
        self._progress = ProgressWriter(self._store, self._running, self._clock)
        self._minutes = MinuteWriter(self._store, self._clock)
        self._switchboard = Switchboard(self._running, self._clock, stop, self._minutes)
        self._recorder = Recorder(
            self._store,
            JobWriter(self._store, self._bundle_publisher.offer, self._minutes),
            self._running,
            records.__getitem__,
            Defaults(common.times.grace_s, common.times.expires_in_s, common.times.retention_s),
            self._clock,
            self._switchboard,
            settings.name,
        )
        self._presence = Presence(
            self._identity,
            self._store,
            self._kind_cache,
            self._running,
            self._clock,
            finished=lambda: self._recorder.finished,
            stop=stop,
        )
        self._reporter = Reporter(
            settings.gateways.urls,
            settings.gateways.secret,
            hello=self._presence.hello,
            on_command=self._switchboard.commanded,
        )
        self._ledgers = AttemptLedgers(
            self._store.ledgers(),
            self._running,
            lambda kind: records[kind].version,
            lambda held: self._runners.interrupt(held, InterruptReason.LEASE_LOST),
            self._clock,
        )
        self._times = KindTimes(records, lease_s=common.times.lease_s, renewal_s=common.times.renewal_s)
        endpoints = self._store.callback_endpoints()
        self._endpoint_notes = EndpointNotes(endpoints, self._clock)
        self._runners = HandlerRunner(
            settings,
            kinds,
            self._times,
            on_ended=self._switchboard.ended,
            on_progress=self._switchboard.progressed,
            ledgers=LedgerAccess(self._ledgers, self._clock),
            secrets=DeliverySecrets(self._store.callback_secrets(), endpoints, self._clock),
            host=host,
        )
        self._leases = Leases(
            self._store,
            self._running,
            self._identity.boot,
            self._times,
            self._clock.monotonic,
            self._runners.interrupt,
            self._runners.fence,
            self._runners.signal_came,
        )
        self._renewals = Renewals(self._leases, self._runners, renewal_s=common.times.renewal_s)
        self._lanes = self._make_lanes()
        self._paused_kinds = PausedKinds(self._pauses, records, self._lanes, self._runners.give_back_waiting)
        self._pauses.on_read(self._lanes.pull)
        self._switchboard.connect(
            lanes=self._lanes,
            ledgers=self._ledgers,
            runners=self._runners,
            recorder=self._recorder,
            progress=self._progress,
            reporter=self._reporter,
            endpoints=self._endpoint_notes,
        )
        self._check = SelfCheck(
            settings,
            self._clock,
            monitor=self._monitor,
            pauses=self._pauses,
            lanes=self._lanes,
            runners=self._runners,
            leases=self._leases,
            reporter=self._reporter,
        )
        self._health = health_server(settings, self._check.readiness)
        begin_kinds(kinds)
        watch_slots({name: self._slots[kind.is_async] for name, kind in kinds.items()})
        watch_dependencies({"mongodb": lambda: self._monitor.problem is None, "rabbitmq": self._consumes})
        self._tasks = Tasks()

    def _make_lanes(self) -> Lanes:
        """Make one runner and one consumer per lane. Lanes with the same sort of handlers share slots."""
        settings, identity = self._settings, self._identity
        self._slots = {is_async: Slots(settings.capacity.slots_for(is_async=is_async)) for is_async in (True, False)}
        self._isolated_slots = Slots(settings.capacity.slots)
        lanes = Lanes()
        for lane, names in lanes_of(identity.kinds.values()).items():
            is_async = all(self._kinds[name].is_async for name in names)
            runner = LaneRunner(
                LaneSettings(
                    lane,
                    tuple(names),
                    worker=identity.name,
                    boot=identity.boot,
                    times=self._times,
                    hold_s=settings.timeouts.hold_s,
                    limits=LaneLimits(
                        self._store,
                        partial(self._pauses.any_limited, names),
                        partial(self._pauses.any_limit_set, names),
                    ),
                ),
                self._store,
                LaneSlots(lane, self._slots[is_async], self._isolated_slots),
                self._running,
                self._watermarks,
                self._clock,
                self._switchboard,
            )
            lanes.add(runner, LaneConsumer(self._consuming, self._probing, lane, 1, runner.on_delivery))
        return lanes

    async def run(self) -> None:
        """Work until `stop` is set, then drain."""
        settings = self._settings
        lifetime = Lifetime()
        metrics = MetricsServer(settings.common.listen, run_file=run_file_of(settings))
        lifetime.add("metrics", start=metrics.start, stop=metrics.stop)
        lifetime.add("store", start=self._monitor.look, stop=self._store.close)
        lifetime.add("minute buckets", stop=self._minutes.stop, stop_within_s=3.0)
        lifetime.add("notes of callback endpoints", stop=self._endpoint_notes.write, stop_within_s=3.0)
        lifetime.add("broker", stop=self._close_broker)
        lifetime.add("health", start=self._health.start, stop=self._health.stop)
        lifetime.add("loops", start=self._start_loops, stop=self._stop_loops, stop_within_s=10.0)
        lifetime.add("ledgers", stop=self._ledgers.stop)
        lifetime.add("reporter", start=self._reporter.start, stop=self._reporter.stop)
        lifetime.add("runners", start=self._runners.start, stop=self._stop_runners, stop_within_s=12.0)
        lifetime.add("consumers", start=self._start_lanes, stop=self._lanes.stop)
        await lifetime.start()
        for warning in settings.common.warnings:
            log.warning(warning)
        log.info(
            "worker started",
            worker=settings.name,
            kinds=sorted(self._identity.kinds),
            slots=settings.capacity.slots,
        )
        await self._stop.wait()
        self._check.drain()
        await drain(self._lanes, self._runners, self._running, self._clock, within_s=settings.timeouts.drain_s)
        await lifetime.stop()
        log.info("worker stopped", worker=settings.name, finished=self._recorder.finished)

    def suspect_all(self) -> None:
        """Mark the running jobs for isolation, because one of them stops the worker. On the plumbing loop."""
        self._running.suspect_all()

    async def _start_loops(self) -> None:
        self._monitor.start(self._tasks)
        self._presence.start(self._tasks, renewal_s=self._settings.common.times.renewal_s)
        self._kind_cache.start(self._tasks)
        self._pauses.start(self._tasks)
        self._minutes.start(self._tasks)
        self._endpoint_notes.start(self._tasks)
        self._bundle_publisher.start()
        self._renewals.start(self._tasks)
        self._tasks.repeat("watermarks", self._watermarks.write, every_s=SECOND_S)
        self._tasks.repeat("progress", self._progress.write, every_s=SECOND_S)
        self._tasks.repeat("beat", self._check.beat, every_s=SECOND_S)
        self._check.start()

    async def _stop_loops(self) -> None:
        await self._tasks.cancel_all()
        await self._presence.leave()
        await self._bundle_publisher.stop()

    async def _start_lanes(self) -> None:
        self._lanes.start(self._wait_able_to_claim)

    def _consumes(self) -> bool | None:
        """Whether RabbitMQ can be used; None until `_wait_able_to_claim` has returned, which may take an import."""
        is_able = self._monitor.is_measured and self._runners.is_prepared
        return self._consuming.is_open if is_able else None

    async def _wait_able_to_claim(self) -> None:
        # A lease by an unmeasured clock could expire at once, or last for hours.
        await self._monitor.wait_measured()
        # Without the pauses, a paused kind would be consumed for a moment.
        await self._pauses.wait_read()
        # An isolated job would wait under a lease while the fork server imports the handlers.
        await self._runners.wait_prepared()

    async def _stop_runners(self) -> None:
        await close_runners(self._runners, self._recorder, self._running)

    async def _close_broker(self) -> None:
        await self._publisher.close()
        await self._consuming.drop()
        await self._probing.drop()
