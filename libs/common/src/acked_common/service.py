"""The parts that intake and gateway have in common, put together once: store, broker, sweeper, status, their loops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from acked_common.api.authenticator import Authenticator, check_url
from acked_common.api.document import About
from acked_common.api.hints import Hints
from acked_common.api.inputs import check_query
from acked_common.api.long_poll import LongPolls
from acked_common.api.metrics_server import MetricsServer
from acked_common.api.operational_routes import operations_routes
from acked_common.api.operations import LIST_KINDS
from acked_common.api.pages import Page, serve_pages
from acked_common.api.readiness import FaultTimes, Readiness
from acked_common.api.routes import ApiRoute, with_page
from acked_common.api.serving import changed_by_reading, first_parts, unlimited, with_document
from acked_common.api.status_route import status_routes
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_metrics import watch_dependencies
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.ledger_collector import LedgerCollector
from acked_common.background.limit_looks import LimitLooks
from acked_common.background.minute_writer import MinuteWriter
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.resumer import Resumer
from acked_common.background.signal_sweeper import SignalAnnouncer, SignalSweeper
from acked_common.background.store_monitor import StoreMonitor
from acked_common.background.sweeper import Sweeper
from acked_common.background.token_cache import TokenCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.publisher import RabbitLaneProbe, RabbitPublisher
from acked_common.http.cors import Cors
from acked_common.http.edge import Check, Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.limits import Limits
from acked_common.http.not_found import NotFound
from acked_common.http.rate_limit import RateLimit
from acked_common.http.request_guards import LOCAL_HOSTS, Message, RequestGuards
from acked_common.http.request_metrics import RequestMetrics
from acked_common.http.request_rate import RequestRate
from acked_common.http.settings import HeldLimits, HttpLimits, usual_held
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.lifetime import Lifetime, Tasks
from acked_common.runtime.logs import get_log
from acked_common.runtime.settings import CommonSettings
from acked_common.store.mongo.store import MongoStore

log = get_log(__name__)

BROKER_LOOK_EVERY_S = 2.0
READINESS_LOOK_EVERY_S = 1.0


class ServiceCore:
    """The parts that HTTP services share. A service adds its own parts to `lifetime`."""

    def __init__(
        self, settings: CommonSettings, *, name: str, store_timeout_s: float, held: HeldLimits | None = None
    ) -> None:
        self._settings = settings
        servers, access = settings.servers, settings.access
        self.limits = Limits(held or usual_held(HttpLimits().connections), asks_for_tokens=access.asks_for_tokens)
        for warning in settings.warnings:
            log.warning(warning)
        self.cors = Cors(access.allowed_origins) if access.allowed_origins else None
        self.stopping = asyncio.Event()
        """Set as soon as the process gets a stop signal."""
        self.clock = SharedClock()
        self.store = MongoStore(servers.mongo_url, servers.database, app_name=name, timeout_s=store_timeout_s)
        self.monitor = StoreMonitor(self.store, self.clock)
        self.kinds = KindCache(self.store, self.clock.monotonic)
        self.pauses = PauseCache(self.store)
        self.publisher = RabbitPublisher(servers.amqp_url, name=name)
        self.bundle_publisher = BundlePublisher(self.publisher, self.kinds)
        self._minutes = MinuteWriter(self.store, self.clock)
        self.writer = JobWriter(self.store, self.bundle_publisher.offer, self._minutes, self.store.ledgers())
        self.workers = WorkerCache(self.store, seen_within_s=settings.times.renewal_s * 3)
        looks = QueueLooks(self.store, self.store, self.clock)
        self.limit_looks = LimitLooks(self.store, self.clock)
        self.hints = Hints(
            self.workers, self.kinds, looks, self.clock, self.pauses, self.store.ledgers(), self.limit_looks
        )
        self._probe = RabbitLaneProbe(servers.amqp_url, name=name)
        self.waits = LongPolls(self.store)
        tokens = TokenCache(self.store.tokens(), self.clock) if access.asks_for_tokens else None
        self.authenticator = Authenticator(tokens)
        self._sweeper = Sweeper(
            self.store,
            self.writer,
            self.bundle_publisher,
            self._probe,
            self.kinds,
            self.pauses,
            self.clock,
            settings.times,
        )
        self._resumer = Resumer(self.store, self.writer, self.clock, settings.times)
        self._collector = LedgerCollector(self.store, self.store.ledgers(), self.clock)
        self.announcer = SignalAnnouncer(self.writer, self.store.ledgers(), self.clock, settings.times)
        self._signals = SignalSweeper(self.store, self.store.ledgers(), self.announcer, self.clock)
        self._tasks = Tasks()
        self._loops: list[Callable[[Tasks], object]] = [
            self.monitor.start,
            self.kinds.start,
            self.pauses.start,
            self.waits.start,
            self._minutes.start,
            self._start_sweeper,
            *([tokens.start] if tokens is not None else []),
        ]
        if tokens is None:
            log.warning("tokens are off: every client of this port has all permissions", host=settings.listen.host)
        self.lifetime = Lifetime()
        watch_dependencies(
            {"mongodb": lambda: self.monitor.problem is None, "rabbitmq": lambda: self.publisher.is_open}
        )
        metrics = MetricsServer(settings.listen, run_file=settings.listen.run_file)
        self.lifetime.add("metrics", start=metrics.start, stop=metrics.stop)
        self.lifetime.add("store", start=self.monitor.look, stop=self.store.close)
        self.lifetime.add("minute buckets", stop=self._minutes.stop, stop_within_s=3.0)
        self.lifetime.add("publisher", stop=self.publisher.close)
        self.lifetime.add("probe", stop=self._probe.close)
        self.lifetime.add(
            "bundle publisher", start=self._start_bundle_publisher, stop=self.bundle_publisher.stop, stop_within_s=6.0
        )
        # Stops after the loops, because parts stop in reverse order.
        self.lifetime.add("sweeper", stop=self._sweeper.stop)
        self.lifetime.add("loops", start=self._start_loops, stop=self._tasks.cancel_all)

    def add_loops(self, start: Callable[[Tasks], object]) -> None:
        """Add loops that run as long as the service."""
        self._loops.append(start)

    def application(
        self,
        routes: list[BaseRoute],
        *,
        about: About,
        readiness: Callable[[], Readiness],
        hot: frozenset[str] = frozenset(),
        others: Mapping[str, str] | None = None,
        page: Page | None = None,
    ) -> Starlette:
        """Return the ASGI application: the service's routes and the common ones behind one edge, with their API
        document.

        `hot` are the most requested paths; their endpoints are ASGI applications. `others` has the URLs of other
        services, by the first segments of the paths that only they serve. `page` renders what browsers get at the
        routes that have a page, and where nothing is served.
        """
        served = with_document(
            [
                *routes,
                *status_routes(
                    self.store,
                    self.waits,
                    self.hints,
                    self.kinds,
                    self.pauses,
                    self.authenticator,
                    self.limits.long_polls,
                    list_kinds=LIST_KINDS if page is None else with_page(LIST_KINDS),
                ),
                *operations_routes(self._unless_stopping(readiness)),
            ],
            about,
        )
        self.authenticator.stand_before(served)
        if page is not None:
            serve_pages(served, page)
        access = self._settings.access
        guards = RequestGuards(
            allowed_hosts=LOCAL_HOSTS | set(access.allowed_hosts),
            allowed_origins=frozenset(access.allowed_origins),
            changing_paths=changed_by_reading(served),
        )
        checks: list[Check] = [guards.check, self.authenticator.recognize, _check_handshake]
        if access.rate_per_s:
            # After the client is known.
            checks.append(RateLimit(RequestRate(access.rate_per_s, access.rate_burst), free=unlimited(served)).check)
        application = Starlette(routes=served, exception_handlers=EXCEPTION_HANDLERS, lifespan=self._lifespan)
        application.middleware_stack = Edge(
            application.build_middleware_stack(),
            checks=checks,
            hot={route.path: route.app for route in served if isinstance(route, ApiRoute) and route.path in hot},
            count=RequestMetrics(first_parts(served)).count,
            cors=self.cors,
            limits=self.limits,
            free=unlimited(served),
        )
        # Every path has one form. A redirect to it would be an undocumented response without a body.
        application.router.redirect_slashes = False
        application.state.elsewhere = NotFound(served, others or {})
        application.state.page = page
        application.state.stopping = self.stopping
        application.state.cors = self.cors
        return application

    def _unless_stopping(self, readiness: Callable[[], Readiness]) -> Callable[[], Readiness]:
        faults = FaultTimes(self.clock.now)

        def found() -> Readiness:
            return faults.note(readiness().but("process", "stops soon") if self.stopping.is_set() else readiness())

        async def note() -> None:
            found()

        # Not only when a probe asks, because a fault begins when it is noticed.
        self.add_loops(lambda tasks: tasks.repeat("readiness", note, every_s=READINESS_LOOK_EVERY_S))
        return found

    def _lifespan(self, _: Starlette) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def alive() -> AsyncIterator[None]:
            await self.lifetime.start()
            yield
            await self.lifetime.stop()

        return alive()

    async def _start_loops(self) -> None:
        for start in self._loops:
            start(self._tasks)
        self._tasks.spawn(self._end_waits(), "end of waits")
        self._tasks.repeat("broker", self._keep_broker, every_s=BROKER_LOOK_EVERY_S)

    def _start_sweeper(self, tasks: Tasks) -> None:
        async def when_time_and_kinds_are_known() -> None:
            await self.monitor.wait_measured()
            await self.kinds.wait_read()
            await self.pauses.wait_read()
            self._sweeper.start(tasks)
            self._resumer.start(tasks)
            self._collector.start(tasks)
            self._signals.start(tasks)

        tasks.spawn(when_time_and_kinds_are_known(), "start of the sweeper")

    async def _keep_broker(self) -> None:
        if not self.publisher.is_open:
            try:
                await self.publisher.connect()
            except BrokerError:
                pass

    async def _end_waits(self) -> None:
        await self.stopping.wait()
        self.waits.end()

    async def _start_bundle_publisher(self) -> None:
        self.bundle_publisher.start()


def _check_handshake(scope: Message) -> None:
    """Raise `ProblemError` for a WebSocket URL with a query, since no route accepts one."""
    if scope["type"] == "websocket" and scope["query_string"]:
        check_url(scope)
        check_query(scope["query_string"], ())
