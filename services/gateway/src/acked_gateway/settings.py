"""The gateway's settings."""

from dataclasses import dataclass, field

from acked_common.http.settings import Bound, HeldLimits, HttpLimits, read_bound, read_held_limits, read_http_limits
from acked_common.runtime.env import Env
from acked_common.runtime.settings import CommonSettings, read_common, require_access, service_url
from acked_gateway.feed.frames import MAX_IDS
from acked_gateway.jobs.commands import MAX_BODY_BYTES

READS = Bound(64, 16)
"""Most reads wait for their turn."""
FEEDS = Bound(20_000, 1000)
FEED_IDS = Bound(400_000, 100_000)
"""An id in a topic takes some 250 bytes; a client may fill ten connections with ids."""
LOAD_TESTS = Bound(8, 4)
LOAD_TEST_CALLS = Bound(250_000, 125_000)
"""A client may run one of the largest tests and some small ones at once; a call takes 1 KB."""


@dataclass(frozen=True, slots=True)
class FeedBounds:
    """What clients of the feed may hold."""

    clients: Bound
    """Connections."""
    subscriptions: Bound
    ids: Bound
    """Ids in the topics of all subscriptions."""


@dataclass(frozen=True, slots=True)
class LoadTestSettings:
    """The load tests that may run at once, and their connections to intake."""

    tests: Bound
    calls: Bound
    """Calls of all running load tests."""
    connections: int


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateway's own settings and the common ones."""

    common: CommonSettings
    http: HttpLimits
    held: HeldLimits
    port: int
    intake_url: str
    """The URL at which the gateway reaches intake."""
    public_intake_url: str
    """The URL at which clients reach intake; shown in pages and problems."""
    reads: Bound
    """Lists and counts in progress."""
    load_test: LoadTestSettings
    feed: FeedBounds
    worker_secret: str | None = field(repr=False)
    """The secret that workers present; with None, no worker can connect by secret."""


def read_settings(env: Env | None = None) -> GatewaySettings:
    """Read and validate all settings of the gateway. Raises `SettingsError`."""
    env = env or Env()
    intake_port = env.whole("ACKED_INTAKE_PORT", 8081, at_least=1, at_most=65535)
    http = read_http_limits(env)
    settings = GatewaySettings(
        common=read_common(env),
        http=http,
        held=read_held_limits(env, http, largest_body=MAX_BODY_BYTES),
        port=env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535),
        intake_url=service_url(env, "ACKED_INTAKE_URL", f"http://127.0.0.1:{intake_port}"),
        public_intake_url=service_url(env, "ACKED_PUBLIC_INTAKE_URL", f"http://localhost:{intake_port}"),
        reads=read_bound(env, "ACKED_READS", "ACKED_READS_PER_CLIENT", READS),
        load_test=_read_load_test(env),
        feed=_read_feed(env),
        worker_secret=env.secret("ACKED_WORKER_SECRET"),
    )
    require_access(env, settings.common)
    env.finish()
    return settings


def _read_load_test(env: Env) -> LoadTestSettings:
    return LoadTestSettings(
        tests=read_bound(env, "ACKED_LOAD_TESTS", "ACKED_LOAD_TESTS_PER_CLIENT", LOAD_TESTS),
        calls=read_bound(env, "ACKED_LOAD_TEST_CALLS", "ACKED_LOAD_TEST_CALLS_PER_CLIENT", LOAD_TEST_CALLS),
        connections=env.whole("ACKED_LOAD_TEST_CONNECTIONS", 128, at_least=1, at_most=250),
    )


def _read_feed(env: Env) -> FeedBounds:
    clients = read_bound(env, "ACKED_FEED_CLIENTS", "ACKED_FEEDS_PER_CLIENT", FEEDS, at_most=1_000_000)
    usual = Bound(clients.in_all * 2, clients.of_client * 2)
    return FeedBounds(
        clients=clients,
        subscriptions=read_bound(env, "ACKED_FEED_SUBSCRIPTIONS", "ACKED_FEED_SUBSCRIPTIONS_PER_CLIENT", usual),
        ids=read_bound(env, "ACKED_FEED_IDS", "ACKED_FEED_IDS_PER_CLIENT", FEED_IDS, at_least=MAX_IDS),
    )
