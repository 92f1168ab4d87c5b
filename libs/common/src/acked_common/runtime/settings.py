"""OWNER of the settings that every service has: read once at start, checked, and frozen. Names carry their units."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

from acked_common.model.call_targets import AllowedHosts
from acked_common.model.origins import host_of, is_http_url, origin_of
from acked_common.runtime.broker_addresses import addresses, urls_in
from acked_common.runtime.env import Env
from acked_common.runtime.failpoints import FailpointPlan, parse_plan

WORKER_STORE_TIMEOUT_S = 5.0
"""How long a worker's call to MongoDB may take, a renewal's too."""
DEVELOPMENT_WARNING = (
    "development secrets are in use: the repository publishes them. "
    "Let nobody but this machine reach Acked, or use secrets of your own: ./just up makes some (docs/docker.md)"
)


@dataclass(frozen=True, slots=True)
class ServerUrls:
    """The URLs of the servers; they may contain passwords."""

    mongo_url: str = field(repr=False)
    amqp_url: str = field(repr=False)
    database: str


@dataclass(frozen=True, slots=True)
class JobTimes:
    """How long a job may wait, run without a renewal, and stay stored."""

    lease_s: float
    renewal_s: float
    sweep_tick_s: float
    grace_s: float
    republish_after_s: float
    expires_in_s: float
    retention_s: float


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Access to an HTTP service: clients, origins and rates."""

    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    asks_for_tokens: bool
    """Whether clients must show a token; where they need not, only this machine may reach the service."""
    published_on_loopback: bool
    """Whether something in front, such as a container's published port, lets only this machine reach the service."""
    rate_per_s: float
    """Requests of one client that one process takes in the long run; 0: any number."""
    rate_burst: int


@dataclass(frozen=True, slots=True)
class ListenAddresses:
    """The listening addresses of a process, besides the port of its service."""

    host: str
    metrics_host: str
    metrics_port: int
    """The first port for a separate `/metrics`; 0: none."""
    run_file: Path | None
    """The file for the id of an HTTP process and its own loopback port; None: it has no such port."""


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """The settings of every service."""

    servers: ServerUrls
    times: JobTimes
    access: AccessRules
    listen: ListenAddresses
    log_level: str
    has_development_secret: bool
    """Whether a server's password is a development secret of the repository."""
    crash: FailpointPlan | None = None
    """For tests only: where this process breaks."""
    unknown: tuple[str, ...] = ()
    """A line for each `ACKED_*` variable that nothing reads."""
    callback_allow: AllowedHosts = field(default_factory=AllowedHosts)
    """Hosts that callbacks may reach over http or in private networks, as `http_call` does."""

    @property
    def warnings(self) -> list[str]:
        """The warnings that a process logs once when it starts."""
        found = [DEVELOPMENT_WARNING] if self.has_development_secret else []
        return [*found, *(f"ignored: {line}" for line in self.unknown)]


def read_common(env: Env) -> CommonSettings:
    """Read and cross-check the settings; `env` collects the problems."""
    settings = CommonSettings(
        servers=ServerUrls(
            mongo_url=server_url(
                env, "ACKED_MONGO_URL", "mongodb://127.0.0.1:27017/?replicaSet=acked", "ACKED_MONGO_PASSWORD"
            ),
            amqp_url=server_url(env, "ACKED_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/", "ACKED_AMQP_PASSWORD"),
            database=env.text("ACKED_DATABASE", "acked"),
        ),
        times=JobTimes(
            lease_s=env.seconds("ACKED_LEASE_S", 30.0, at_least=1.0),
            renewal_s=env.seconds("ACKED_RENEWAL_S", 8.0, at_least=0.1),
            sweep_tick_s=env.seconds("ACKED_SWEEP_TICK_S", 0.5, at_least=0.05),
            grace_s=env.seconds("ACKED_GRACE_S", 10.0, at_least=0.1),
            republish_after_s=env.seconds("ACKED_REPUBLISH_AFTER_S", 30.0, at_least=0.1),
            expires_in_s=env.seconds("ACKED_EXPIRES_IN_S", 30 * 86400.0),
            retention_s=env.seconds("ACKED_RETENTION_S", 30 * 86400.0),
        ),
        access=AccessRules(
            allowed_hosts=env.each("ACKED_ALLOWED_HOSTS", host_of),
            allowed_origins=env.each("ACKED_ALLOWED_ORIGINS", origin_of),
            asks_for_tokens=env.choice("ACKED_ACCESS", ("tokens", "off"), "off") == "tokens",
            published_on_loopback=_published_on_loopback(env),
            rate_per_s=env.rate("ACKED_RATE_PER_S", 1000.0),
            rate_burst=env.whole("ACKED_RATE_BURST", 10_000, at_least=1),
        ),
        listen=ListenAddresses(
            host=env.text("ACKED_HOST", "127.0.0.1"),
            metrics_host=env.text("ACKED_METRICS_HOST", "127.0.0.1"),
            metrics_port=env.whole("ACKED_METRICS_PORT", 0, at_most=65535),
            run_file=env.path("ACKED_RUN_FILE"),
        ),
        log_level=env.text("ACKED_LOG_LEVEL", "info").lower(),
        crash=_crash_plan(env),
        has_development_secret=env.has_development_secret,
        unknown=env.unknown,
        callback_allow=_allowed_hosts(env),
    )
    try:
        addresses(settings.servers.amqp_url)
    except ValueError as error:
        env.require(False, f"ACKED_AMQP_URL: {error}")
    times = settings.times
    env.require(
        times.renewal_s * 3 <= times.lease_s,
        f"ACKED_RENEWAL_S={times.renewal_s:g}: must be at most a third of ACKED_LEASE_S={times.lease_s:g}, "
        "or one lost renewal costs the lease",
    )
    env.require(
        settings.log_level in ("debug", "info", "warning", "error"),
        f"ACKED_LOG_LEVEL={settings.log_level}: one of debug, info, warning, error",
    )
    return settings


def server_url(env: Env, name: str, default: str, password_name: str) -> str:
    """Read the URL of a server, with a password that is set apart from it: in a file no other process can see it.

    The URL then names the user and has no password of its own; so does each of several URLs.
    """
    text = env.text(name, default)
    password = env.secret(password_name)
    if password is None:
        return text
    return ",".join(_with_password(env, url, password, name, password_name) for url in urls_in(text))


def _with_password(env: Env, url: str, password: str, name: str, password_name: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if not user or ":" in user:
        env.require(
            False, f"{password_name} is set: {name} must have a user and no password, as in {scheme}://user@host"
        )
        return url
    return f"{scheme}://{user}:{quote(password, safe='')}@{hosts}{slash}{tail}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to this host."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _published_on_loopback(env: Env) -> bool:
    """Return whether ports are published on loopback; the switch can only deny what `ACKED_PUBLISH_ADDRESS` states."""
    switch = env.choice("ACKED_PUBLISHED_ON_LOOPBACK", ("yes", "no"), "no")
    address = env.text("ACKED_PUBLISH_ADDRESS", "")
    if not address:
        return switch == "yes"
    is_near = is_loopback(address.strip("[]"))
    env.require(
        is_near or switch == "no",
        f"ACKED_PUBLISHED_ON_LOOPBACK=yes: ports are published on ACKED_PUBLISH_ADDRESS={address}, which others reach",
    )
    return is_near and env.text("ACKED_PUBLISHED_ON_LOOPBACK", "yes").lower() == "yes"


def require_access(env: Env, settings: CommonSettings) -> None:
    """Require tokens of a service that other machines can reach; the problem explains how to enable them."""
    env.require(
        settings.access.asks_for_tokens or settings.access.published_on_loopback or is_loopback(settings.listen.host),
        f"{_reached_at(env, settings)}: others than this machine may reach it, and nobody would have to show a token. "
        "Set ACKED_ACCESS=tokens and make tokens with ./just token make; or, where something in front lets only this "
        "machine through, ACKED_PUBLISHED_ON_LOOPBACK=yes",
    )


def _reached_at(env: Env, settings: CommonSettings) -> str:
    address = env.text("ACKED_PUBLISH_ADDRESS", "")
    return f"ACKED_PUBLISH_ADDRESS={address}" if address else f"ACKED_HOST={settings.listen.host}"


def _allowed_hosts(env: Env) -> AllowedHosts:
    try:
        return AllowedHosts.parse(env.text("ACKED_HTTP_CALL_ALLOW", ""))
    except ValueError as error:
        env.require(False, f"ACKED_HTTP_CALL_ALLOW: {error}")
        return AllowedHosts()


def _crash_plan(env: Env) -> FailpointPlan | None:
    text = env.text("ACKED_CRASH", "")
    if not text:
        return None
    try:
        plan = parse_plan(text)
    except ValueError as error:
        env.require(False, f"ACKED_CRASH={text}: {error}")
        return None
    host = env.text("ACKED_HOST", "127.0.0.1")
    env.require(
        is_loopback(host), f"ACKED_CRASH is for tests only: refused while ACKED_HOST={host} is reached from outside"
    )
    return plan


def service_url(env: Env, name: str, default: str) -> str:
    """Read the URL of a service, without a slash at its end."""
    text = env.text(name, default).rstrip("/")
    what = f"must be http:// or https://, a host and perhaps a port, as in {default}"
    env.require(is_http_url(text), f"{name}={text}: {what}")
    return text
