"""Puts intake together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

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
from acked_intake.accept import Acceptance, publish_stored
from acked_intake.group_commit import GroupCommit, Limits
from acked_intake.routes import PROCESS_PATH, ProcessEndpoint
from acked_intake.settings import IntakeSettings

BROKER_LOOK_EVERY_S = 2.0


def create_app(settings: IntakeSettings) -> Starlette:
    """The ASGI application; its lifespan starts and stops every part."""
    common = settings.common
    clock = SharedClock()
    # A call may take half of the time in which a client is answered: there is room for one repetition.
    store = MongoStore(
        common.mongo_url, common.database, app_name="acked-intake", timeout_s=settings.answer_within_s * 0.8
    )
    monitor = StoreMonitor(store, clock)
    kinds = KindTable(store)
    publisher = RabbitPublisher(common.amqp_url, name="acked-intake")
    probe = RabbitLaneProbe(common.amqp_url, name="acked-intake")
    outbox = Outbox(publisher, kinds)
    commit = GroupCommit(
        store,
        Limits(settings.waiting_jobs, settings.waiting_bytes, settings.commits_in_flight, settings.answer_within_s),
        lambda jobs: publish_stored(outbox, jobs),
    )
    acceptance = Acceptance(commit, kinds, monitor, clock, common)
    waits = StatusWaits(store)
    workers = WorkerTable(store, seen_within_s=common.renewal_s * 3)
    sweeper = Sweeper(store, outbox, probe, kinds, clock, common)
    tasks = Tasks()

    async def keep_broker() -> None:
        if not publisher.is_open:
            try:
                await publisher.connect()
            except BrokerError:
                pass

    def readiness() -> Readiness:
        return Readiness(
            {"mongodb": monitor.problem, "kinds": None if kinds.was_read else "not read yet"},
            {"rabbitmq": None if publisher.is_open else "away; requests are kept and published later"},
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
    lifetime.add("group commit", stop=commit.stop, stop_within_s=4.0)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await lifetime.start()
        yield
        await lifetime.stop()

    routes: list[BaseRoute] = [
        Route(PROCESS_PATH, ProcessEndpoint(acceptance, settings)),
        *status_routes(store, waits, workers, kinds),
        *operations_routes(readiness),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(
                Guards,
                allowed_hosts=LOCAL_HOSTS | set(common.allowed_hosts),
                allowed_origins=frozenset(common.allowed_origins),
            ),
            # The hot path counts for itself.
            Middleware(CountRequests, not_counted=frozenset({PROCESS_PATH})),
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        lifespan=lifespan,
    )
