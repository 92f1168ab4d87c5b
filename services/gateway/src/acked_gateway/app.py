"""Puts the gateway together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from acked_common.broker import BrokerError
from acked_common.broker.publisher import RabbitLaneProbe, RabbitPublisher
from acked_common.clock import SharedClock
from acked_common.guards import LOCAL_HOSTS, Guards
from acked_common.kind_table import KindTable
from acked_common.lifetime import Lifetime, Tasks
from acked_common.outbox import Outbox
from acked_common.status_route import status_routes
from acked_common.status_waits import StatusWaits
from acked_common.store.mongo import MongoStore
from acked_common.store_monitor import StoreMonitor
from acked_common.sweeper import Sweeper
from acked_common.web import EXCEPTION_HANDLERS, CountRequests, Readiness, operations_routes
from acked_common.worker_table import WorkerTable
from acked_gateway.commands import Commands
from acked_gateway.job_routes import job_routes
from acked_gateway.load_test import LoadTester
from acked_gateway.load_test_routes import LOAD_TEST_PATH, load_test_routes
from acked_gateway.settings import GatewaySettings

STORE_TIMEOUT_S = 1.8
BROKER_LOOK_EVERY_S = 2.0


def create_app(settings: GatewaySettings) -> Starlette:
    """The ASGI application; its lifespan starts and stops every part."""
    common = settings.common
    clock = SharedClock()
    store = MongoStore(common.mongo_url, common.database, app_name="acked-gateway", timeout_s=STORE_TIMEOUT_S)
    monitor = StoreMonitor(store, clock)
    kinds = KindTable(store)
    publisher = RabbitPublisher(common.amqp_url, name="acked-gateway")
    probe = RabbitLaneProbe(common.amqp_url, name="acked-gateway")
    outbox = Outbox(publisher, kinds)
    commands = Commands(store, outbox, clock, common)
    waits = StatusWaits(store)
    workers = WorkerTable(store, seen_within_s=common.renewal_s * 3)
    sweeper = Sweeper(store, outbox, probe, kinds, clock, common)
    tester = LoadTester(settings.intake_url, max_connections=settings.load_test_connections)
    tasks = Tasks()

    async def keep_broker() -> None:
        if not publisher.is_open:
            try:
                await publisher.connect()
            except BrokerError:
                pass

    def readiness() -> Readiness:
        return Readiness(
            {"mongodb": monitor.problem},
            {"rabbitmq": None if publisher.is_open else "away; retries wait for the sweeper"},
        )

    async def start_loops() -> None:
        monitor.start(tasks)
        kinds.start(tasks)
        waits.start(tasks)
        sweeper.start(tasks)
        tasks.repeat("broker", keep_broker, every_s=BROKER_LOOK_EVERY_S)

    async def start_outbox() -> None:
        outbox.start()

    async def close_store() -> None:
        store.close()

    lifetime = Lifetime()
    lifetime.add("store", start=monitor.look, stop=close_store)
    lifetime.add("publisher", stop=publisher.close)
    lifetime.add("probe", stop=probe.close)
    lifetime.add("outbox", start=start_outbox, stop=outbox.stop, stop_within_s=6.0)
    lifetime.add("loops", start=start_loops, stop=tasks.cancel_all)
    lifetime.add("load tester", start=tester.start, stop=tester.close)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await lifetime.start()
        yield
        await lifetime.stop()

    routes: list[BaseRoute] = [
        *load_test_routes(tester, settings.public_intake_url),
        *status_routes(store, waits, workers, kinds),
        *job_routes(store, commands, workers),
        *operations_routes(readiness),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(
                Guards,
                allowed_hosts=LOCAL_HOSTS | set(common.allowed_hosts),
                allowed_origins=frozenset(common.allowed_origins),
                changing_paths=frozenset({LOAD_TEST_PATH}),
            ),
            Middleware(CountRequests),
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        lifespan=lifespan,
    )
