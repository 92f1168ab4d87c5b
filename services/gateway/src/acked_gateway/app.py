"""Composition root of the gateway."""

from starlette.applications import Starlette

from acked_common.api.readiness import Readiness
from acked_common.background.census import CensusLoop
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.schema_cache import SchemaCache
from acked_common.broker.rabbitmq.command_bus import RabbitCommandBus
from acked_common.http.not_found import OF_INTAKE
from acked_common.http.server.serve import held_within_files
from acked_common.model.ids import new_id
from acked_common.runtime.settings import JobTimes
from acked_common.service import ServiceCore
from acked_gateway.attention.routes import attention_routes
from acked_gateway.audit.notes import Audit
from acked_gateway.audit.routes import audit_routes
from acked_gateway.bulk.orders import BulkOrders
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.routes import bulk_routes
from acked_gateway.bulk.runner import BulkRunner
from acked_gateway.callbacks.deliveries import Resends
from acked_gateway.callbacks.endpoint_acts import EndpointActs
from acked_gateway.callbacks.endpoint_disabler import EndpointDisabler
from acked_gateway.callbacks.endpoint_routes import endpoint_routes
from acked_gateway.callbacks.routes import callback_routes
from acked_gateway.callbacks.secrets import Signing
from acked_gateway.document import ABOUT
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.entry import FeedEntry
from acked_gateway.feed.event_stream import FeedStreams
from acked_gateway.feed.held_subscriptions import FeedLimits, FeedParts
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.session import Feed
from acked_gateway.feed.snapshots import Snapshots
from acked_gateway.feed.websocket import FeedSockets
from acked_gateway.jobs.acts import Acts
from acked_gateway.jobs.batch_ends import batch_ends_route
from acked_gateway.jobs.command_routes import command_routes
from acked_gateway.jobs.commands import Commands
from acked_gateway.jobs.edits import Edits
from acked_gateway.jobs.intake_client import IntakeClient
from acked_gateway.jobs.routes import Reads, job_routes
from acked_gateway.jobs.signal_routes import signal_routes
from acked_gateway.jobs.signals import Signals
from acked_gateway.jobs.throughput import throughput_route
from acked_gateway.jobs.timeseries import timeseries_routes
from acked_gateway.kinds.backlog import backlog_route
from acked_gateway.kinds.details import KindDetailsParts
from acked_gateway.kinds.limiting import Limiting
from acked_gateway.kinds.pausing import Pausing
from acked_gateway.kinds.routes import kind_routes
from acked_gateway.load_test.one_time import OneTimeValues
from acked_gateway.load_test.page import make_page
from acked_gateway.load_test.routes import LoadTestLimits, load_test_routes
from acked_gateway.load_test.runner import LoadTester
from acked_gateway.load_test.stored_figures import StoredFigures
from acked_gateway.pages.routes import page_routes
from acked_gateway.pages.shell import Shell
from acked_gateway.schedules.acts import ScheduleActs
from acked_gateway.schedules.routes import schedule_routes
from acked_gateway.settings import GatewaySettings
from acked_gateway.tokens.routes import token_routes
from acked_gateway.workers.channel import WorkerChannel
from acked_gateway.workers.command_router import CommandRouter
from acked_gateway.workers.routes import worker_routes
from acked_gateway.workers.shared_host import SharedHost
from acked_gateway.workers.worker_counts import WorkerCounts

# With this timeout a client gets its 503 within two seconds if MongoDB does not respond.
STORE_TIMEOUT_S = 1.2


def create_app(settings: GatewaySettings) -> Starlette:
    """Return the ASGI application; its lifespan starts and stops every part."""
    core = ServiceCore(
        settings.common,
        name="acked-gateway",
        store_timeout_s=STORE_TIMEOUT_S,
        held=held_within_files(settings.held, settings.http),
    )
    boot = str(new_id())
    hub = Hub()
    live = ChangeFollower(core.store.changes(), hub, core.waits)
    core.waits.follow(live)
    snapshots = Snapshots(core.store, hub, live)
    entry = FeedEntry(core.authenticator)
    limits = core.limits
    many = "too-many-subscriptions"
    feed_limits = FeedLimits(
        limits.limit("feeds", settings.feed.clients, own="too-many-feeds", what="connections to the feed"),
        limits.limit("feed-subscriptions", settings.feed.subscriptions, own=many, what="subscriptions of the feed"),
        limits.limit("feed-ids", settings.feed.ids, own=many, what="ids in scopes of the feed"),
    )
    feed = Feed(FeedParts(hub, live, snapshots, feed_limits), core.clock, entry, boot=boot)
    core.lifetime.add("live", stop=live.stop)
    core.lifetime.add("snapshots", stop=snapshots.stop)
    core.add_loops(snapshots.start)
    core.add_loops(feed.start)
    channel = WorkerChannel(live, boot=boot, secret=settings.worker_secret, authenticator=core.authenticator)
    core.add_loops(channel.start)
    # Workers report only while a client follows.
    live.on_followed(channel.listen)
    census = CensusLoop(core.store, core.clock)
    core.add_loops(census.start)
    command_router = CommandRouter(channel)
    servers = settings.common.servers
    host = SharedHost(core.store, servers.database, core.clock.monotonic)
    bus = RabbitCommandBus(servers.amqp_url, name="acked-gateway", on_command=command_router.take, on_notice=host.take)
    command_router.attach(bus)
    host.attach(bus)
    core.add_loops(host.start)
    core.lifetime.add("command bus", start=bus.start, stop=bus.stop)
    core.lifetime.add("command line", stop=command_router.stop)
    times = settings.common.times
    audit = Audit(core.store.audit(), core.clock)
    commands = Commands(
        core.store, core.writer, audit, core.clock, times, command_router.cancel, waits=core.store.ledgers()
    )
    intake = IntakeClient(settings.intake_url)
    core.lifetime.add("client of intake", start=intake.start, stop=intake.close)
    edits = Edits(core.store, core.writer, audit, intake, core.clock, times)
    signals = Signals(core.store, core.store.ledgers(), core.announcer, command_router, core.clock)
    core.lifetime.add("marks of signals", stop=signals.stop)
    signing = Signing(core.store.callback_secrets(), audit, core.clock)
    endpoints = core.store.callback_endpoints()
    core.add_loops(EndpointDisabler(endpoints, core.store, audit, core.clock, holder=boot).start)
    orders = _bulk_orders(core, audit, times, command_router, owner=boot)
    pausing = Pausing(core.store, core.kinds, core.pauses, audit, core.clock)
    limiting = Limiting(core.store, pausing, core.pauses, core.limit_looks, audit, core.clock)
    core.add_loops(limiting.start)
    schemas = SchemaCache(core.kinds, core.workers, core.clock.monotonic)
    core.add_loops(schemas.start)
    schedules = core.store.schedules()
    schedule_acts = ScheduleActs(schedules, core.kinds, PayloadCheck(schemas), audit, core.clock)
    reads = Reads(limits.limit("reads", settings.reads, own="too-many-reads", what="lists and counts"))
    core.add_loops(WorkerCounts(core.workers, core.kinds).start)
    tests = limits.limit("load-tests", settings.load_test.tests, own="too-many-load-tests", what="load tests")
    calls = limits.limit(
        "load-test-calls", settings.load_test.calls, own="too-many-load-tests", what="calls of load tests"
    )
    load_tests = core.store.load_tests()
    run_once = OneTimeValues(settings.worker_secret)
    page = make_page(Shell(settings.public_intake_url), run_once, core.clock)
    tester = LoadTester(settings.intake_url, max_connections=settings.load_test.connections)
    core.lifetime.add("load tester", start=tester.start, stop=tester.close)

    def readiness() -> Readiness:
        return Readiness(
            {"mongodb": core.monitor.problem},
            {
                "rabbitmq": None
                if core.publisher.is_open
                else "not connected; the sweeper publishes retried jobs later",
                "virtual host": host.problem,
            },
        )

    return core.application(
        [
            *page_routes(page),
            *load_test_routes(
                tester,
                core.kinds,
                core.store,
                core.clock,
                core.stopping,
                run_once=run_once,
                kept=StoredFigures(load_tests, core.clock),
                limits=LoadTestLimits(tests, calls),
            ),
            *job_routes(core.store, core.hints, reads, core.clock, load_tests, core.store.ledgers()),
            batch_ends_route(core.store, reads),
            *timeseries_routes(core.store, core.clock, reads.turn),
            throughput_route(core.store, core.kinds, core.clock, reads.turn),
            *command_routes(commands, edits),
            *signal_routes(signals, core.store, core.store.ledgers(), reads),
            *callback_routes(core.store, Resends(core.store, endpoints, audit), signing, reads, core.clock),
            *endpoint_routes(EndpointActs(endpoints, audit, core.clock), settings.common.callback_allow, core.clock),
            *attention_routes(core.store, audit, reads, core.clock),
            *bulk_routes(core.store.bulk_actions(), orders, reads),
            *worker_routes(core.store, core.workers, command_router, audit),
            *kind_routes(pausing, limiting, KindDetailsParts(core.workers, census, core.limit_looks), intake),
            backlog_route(census),
            *schedule_routes(schedules, schedule_acts, core.store, reads, core.clock),
            *token_routes(core.authenticator),
            *audit_routes(core.store.audit(), core.clock, reads.turn),
            *FeedStreams(feed, limits.long_polls, core.stopping).routes(),
            *FeedSockets(feed).routes(),
            *channel.routes(),
        ],
        about=ABOUT,
        readiness=readiness,
        others=dict.fromkeys(OF_INTAKE, settings.public_intake_url),
        page=page,
    )


def _bulk_orders(
    core: ServiceCore, audit: Audit, times: JobTimes, command_router: CommandRouter, *, owner: str
) -> BulkOrders:
    """Let this process execute bulk actions. Return the part that accepts new ones."""
    actions, choices = core.store.bulk_actions(), core.store.choices()
    pages = Pages(choices, core.writer, core.clock, Acts(times), command_router.cancel)
    runner = BulkRunner(actions, pages, core.clock, owner=owner)
    core.add_loops(lambda tasks: tasks.spawn(runner.start_when(core.monitor.wait_measured, tasks), "bulk actions"))
    core.lifetime.add("bulk actions", stop=runner.stop)
    return BulkOrders(choices, actions, core.clock, Acts(times), audit=audit, wake=runner.wake)
