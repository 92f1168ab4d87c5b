"""The gateway's settings."""

from dataclasses import dataclass, field

from acked_common.http.settings import Bound, HeldLimits, HttpLimits, read_bound, read_held_limits, read_http_limits
from acked_common.runtime.env import Env
from acked_common.runtime.settings import CommonSettings, read_common, require_access, service_url
from acked_gateway.feed.frames import MAX_IDS
from acked_gateway.jobs.commands import MAX_BODY_BYTES

READS = Bound(64, 16)
"""Most of them wait for their turn."""
FEEDS = Bound(20_000, 1000)
FEED_IDS = Bound(400_000, 100_000)
"""An id in a scope takes some 250 bytes; a client may fill ten connections with them."""
LOAD_TESTS = Bound(8, 4)
LOAD_TEST_CALLS = Bound(250_000, 125_000)
"""A client may run one of the largest tests beside some small ones; a call takes 1 KB."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway needs beside the common part."""

    common: CommonSettings
    http: HttpLimits
    held: HeldLimits
    port: int
    intake_url: str
    """Where the gateway itself reaches intake."""
    public_intake_url: str
    """Where clients reach intake; shown in pages and problems."""
    reads: Bound
    """Lists and counts under way."""
    load_test_connections: int
    load_tests: Bound
    load_test_calls: Bound
    """Of all load tests under way."""
    feeds: Bound
    """Clients of the feed."""
    feed_subscriptions: Bound
    feed_ids: Bound
    """In the scopes of all subscriptions."""
    worker_secret: str | None = field(repr=False)
    """What workers have to show; None lets none connect."""


def read_settings(env: Env | None = None) -> GatewaySettings:
    """Reads and checks all of the gateway's settings."""
    env = env or Env()
    intake_port = env.whole("ACKED_INTAKE_PORT", 8081, at_least=1, at_most=65535)
    http = read_http_limits(env)
    feeds = read_bound(env, "ACKED_FEED_CLIENTS", "ACKED_FEEDS_PER_CLIENT", FEEDS, at_most=1_000_000)
    settings = GatewaySettings(
        common=read_common(env),
        http=http,
        held=read_held_limits(env, http, largest_body=MAX_BODY_BYTES),
        port=env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535),
        intake_url=service_url(env, "ACKED_INTAKE_URL", f"http://127.0.0.1:{intake_port}"),
        public_intake_url=service_url(env, "ACKED_PUBLIC_INTAKE_URL", f"http://localhost:{intake_port}"),
        load_test_connections=env.whole("ACKED_LOAD_TEST_CONNECTIONS", 128, at_least=1, at_most=250),
        reads=read_bound(env, "ACKED_READS", "ACKED_READS_PER_CLIENT", READS),
        load_tests=read_bound(env, "ACKED_LOAD_TESTS", "ACKED_LOAD_TESTS_PER_CLIENT", LOAD_TESTS),
        load_test_calls=read_bound(env, "ACKED_LOAD_TEST_CALLS", "ACKED_LOAD_TEST_CALLS_PER_CLIENT", LOAD_TEST_CALLS),
        worker_secret=env.secret("ACKED_WORKER_SECRET"),
        feeds=feeds,
        feed_subscriptions=read_bound(
            env,
            "ACKED_FEED_SUBSCRIPTIONS",
            "ACKED_FEED_SUBSCRIPTIONS_PER_CLIENT",
            Bound(feeds.in_all * 2, feeds.of_client * 2),
        ),
        feed_ids=read_bound(env, "ACKED_FEED_IDS", "ACKED_FEED_IDS_PER_CLIENT", FEED_IDS, at_least=MAX_IDS),
    )
    require_access(env, settings.common)
    env.finish()
    return settings
