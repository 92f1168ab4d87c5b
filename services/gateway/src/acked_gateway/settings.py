"""The gateway's settings."""

from dataclasses import dataclass, field

from acked_common.settings import CommonSettings, Env, HttpLimits, read_common, read_http_limits, require_access


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway needs beside the common part."""

    common: CommonSettings
    http: HttpLimits
    port: int
    intake_url: str
    """Where the gateway itself reaches intake."""
    public_intake_url: str
    """Where clients reach intake; shown in pages and problems."""
    load_test_connections: int
    feed_clients: int
    """How many clients of the feed one process takes."""
    feeds_per_client: int
    """How many of them may show the same token."""
    worker_secret: str | None = field(repr=False)
    """What workers have to show; None lets none connect."""


def read_settings(env: Env | None = None) -> GatewaySettings:
    """Reads and checks all of the gateway's settings."""
    env = env or Env()
    intake_port = env.whole("ACKED_INTAKE_PORT", 8081, at_least=1, at_most=65535)
    settings = GatewaySettings(
        common=read_common(env),
        http=read_http_limits(env),
        port=env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535),
        intake_url=env.text("ACKED_INTAKE_URL", f"http://127.0.0.1:{intake_port}").rstrip("/"),
        public_intake_url=env.text("ACKED_PUBLIC_INTAKE_URL", f"http://localhost:{intake_port}").rstrip("/"),
        load_test_connections=env.whole("ACKED_LOAD_TEST_CONNECTIONS", 128, at_least=1, at_most=250),
        worker_secret=env.secret("ACKED_WORKER_SECRET"),
        feeds_per_client=env.whole("ACKED_FEEDS_PER_CLIENT", 1000, at_least=1, at_most=1_000_000),
        feed_clients=env.whole("ACKED_FEED_CLIENTS", 20_000, at_least=1, at_most=1_000_000),
    )
    require_access(env, settings.common)
    env.finish()
    return settings
