"""OWNER of the environment: settings are read once at start, checked, and frozen. Names carry their units."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from acked_common.model.numbers import decimal, whole
from acked_common.runtime.broker_addresses import addresses, urls_in
from acked_common.runtime.failpoints import FailpointPlan, parse_plan
from acked_common.runtime.setting_names import is_of_kubernetes, unknown_settings

T = TypeVar("T")

MIN_SECRET_CHARS = 16
WORKER_STORE_TIMEOUT_S = 5.0
"""How long a worker's call to MongoDB may take, a renewal's too."""
DEVELOPMENT_SECRET = "acked-development"  # noqa: S105 - how those that stand in the repository begin
DEVELOPMENT_WARNING = (
    "development secrets are in use: they stand in the repository for everyone to read. "
    "Let nobody but this machine reach Acked, or use secrets of your own: ./just up makes some (docs/docker.md)"
)


class SettingsError(Exception):
    """One or more settings can't be used; the message lists all of them."""


class Env:
    """Reads `ACKED_*` variables and collects every problem before it complains."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._environ = {name: text for name, text in environ.items() if not is_of_kubernetes(name, text)}
        self._problems: list[str] = []
        self.has_development_secret = False
        """Whether one of the secrets that were read stands in the repository."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """A line for each variable that nothing reads."""
        return tuple(unknown_settings(self._environ))

    def text(self, name: str, default: str) -> str:
        """The text, or the default where the variable is unset or empty."""
        return self._environ.get(name, "").strip() or default

    def path(self, name: str) -> Path | None:
        """The path, or None."""
        text = self.text(name, "")
        return Path(text) if text else None

    def secret(self, name: str) -> str | None:
        """The secret in the variable, else in the file that `<name>_FILE` names; None where neither is set."""
        path = self.path(f"{name}_FILE")
        text, source = self.text(name, ""), name
        if not text and path is not None:
            source = f"{name}_FILE={path}"
            try:
                text = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                self._problems.append(f"{source}: can't be read: {error}")
                return None
        elif not text:
            return None
        if not (len(text) >= MIN_SECRET_CHARS and text.isascii() and text.isprintable() and " " not in text):
            self._problems.append(f"{source}: must be at least {MIN_SECRET_CHARS} printable ASCII characters, no space")
            return None
        self.has_development_secret |= text.startswith(DEVELOPMENT_SECRET)
        return text

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """One of the known words."""
        text = self.text(name, default).lower()
        if text not in known:
            self._problems.append(f"{name}={text}: one of {', '.join(known)}")
        return text

    def server_url(self, name: str, default: str, password_name: str) -> str:
        """The URL of a server, with a password that is set apart from it: in a file no other process can see it.

        The URL then names the user and has no password of its own; so does each of several URLs.
        """
        text = self.text(name, default)
        password = self.secret(password_name)
        if password is None:
            return text
        return ",".join(self._with_password(url, password, name, password_name) for url in urls_in(text))

    def _with_password(self, url: str, password: str, name: str, password_name: str) -> str:
        scheme, _, rest = url.partition("://")
        authority, slash, tail = rest.partition("/")
        user, _, hosts = authority.rpartition("@")
        if not user or ":" in user:
            self.require(
                False, f"{password_name} is set: {name} must have a user and no password, as in {scheme}://user@host"
            )
            return url
        return f"{scheme}://{user}:{quote(password, safe='')}@{hosts}{slash}{tail}"

    def http_url(self, name: str, default: str) -> str:
        """Where a service is, without a slash at its end."""
        text = self.text(name, default).rstrip("/")
        holds = _HTTP_URL.fullmatch(text) is not None
        self.require(holds, f"{name}={text}: must be http:// or https://, a host and perhaps a port, as in {default}")
        return text

    def names(self, name: str, default: str = "") -> tuple[str, ...]:
        """A comma-separated list."""
        return tuple(part.strip() for part in self.text(name, default).split(",") if part.strip())

    def hosts(self, name: str) -> tuple[str, ...]:
        """A comma-separated list of host names, each as it stands in a URL, with a port or without."""
        found = self.names(name)
        for text in found:
            if _HOST.fullmatch(text.lower()) is None:
                self._problems.append(
                    f"{name}: {text}: never the name in a URL; write each name by itself, such as acked.example, "
                    "acked.example:8443 or [fd00::1], without a scheme, a path or *"
                )
        return found

    def origins(self, name: str) -> tuple[str, ...]:
        """A comma-separated list of origins, each as browsers write it."""
        found: dict[str, None] = {}
        for text in self.names(name):
            try:
                found[origin_of(text)] = None
            except ValueError as error:
                self._problems.append(f"{name}: {text}: {error}")
        return tuple(found)

    def whole(self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31) -> int:
        """A whole number."""
        return self._number(name, default, whole, at_least, at_most, "a whole number")

    def seconds(self, name: str, default: float, *, at_least: float = 0.001, at_most: float = 3.2e9) -> float:
        """A duration in seconds."""
        return self._number(name, default, decimal, at_least, at_most, "a number of seconds")

    def rate(self, name: str, default: float) -> float:
        """A number a second; 0 means none."""
        return self._number(name, default, decimal, 0.0, 1e6, "a number")

    def require(self, holds: bool, problem: str) -> None:
        """Notes a problem between settings."""
        if not holds:
            self._problems.append(problem)

    def finish(self) -> None:
        """Raises `SettingsError` with all that was found."""
        if self._problems:
            raise SettingsError("these settings can't be used:\n  " + "\n  ".join(self._problems))

    def _number(self, name: str, default: T, read: Callable[[str], T], at_least: float, at_most: float, what: str) -> T:
        text = self.text(name, "")
        if not text:
            return default
        try:
            value = read(text)
        except ValueError:
            self._problems.append(f"{name}={text}: not {what}")
            return default
        if not (isinstance(value, int | float) and math.isfinite(value) and at_least <= value <= at_most):
            self._problems.append(f"{name}={text}: must be between {at_least:g} and {at_most:g}")
            return default
        return value


_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?"
_HOST = re.compile(_NAME)
_HTTP_URL = re.compile(r"https?://(?i:" + _NAME + r")(?:/[^\s?#]*)?")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://" + _NAME)


def origin_of(text: str) -> str:
    """The origin in the one form that browsers send: lower case, without the scheme's own port. Raises ValueError,
    which says what to write."""
    if text == "*":
        raise ValueError("every page in the world could call then; name each origin, such as https://acked.example")
    if text.lower() == "null":
        raise ValueError(
            "files, sandboxed frames and many others call themselves null; serve the page from an address and name it, "
            "such as http://localhost:3000"
        )
    lower = text.lower()
    parts = _ORIGIN.fullmatch(lower)
    if parts is None:
        found = _ORIGIN.match(lower)
        wanted = found[0] if found is not None and lower[found.end()] in "/?#" else "https://acked.example"
        raise ValueError(f"must be scheme://host or scheme://host:port and nothing behind it; write {wanted}")
    scheme, host, port = parts.groups()
    if port is None:
        return lower
    if not 1 <= int(port) <= 65535:
        raise ValueError("a port is 1 to 65535")
    return f"{scheme}://{host}" if int(port) == _DEFAULT_PORTS.get(scheme) else f"{scheme}://{host}:{int(port)}"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients of an HTTP service may cost before their requests are there."""

    connections: int = 8192
    """Of HTTP, without WebSockets."""
    first_byte_s: float = 10.0
    head_s: float = 10.0
    body_s: float = 10.0
    idle_s: float = 75.0


@dataclass(frozen=True, slots=True)
class Bound:
    """How much all clients of one process may hold of something, and one of them."""

    in_all: int
    of_client: int


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """What clients may hold of every HTTP service at once."""

    requests: Bound
    long_polls: Bound
    bytes: Bound


def usual_held(connections: int) -> HeldLimits:
    """The defaults of a process with so many connections: a client that holds all it may leaves others half of them,
    and long polls leave a quarter to what is short."""
    return HeldLimits(
        requests=Bound(connections, connections // 2),
        long_polls=Bound(connections * 3 // 4, connections // 4),
        bytes=Bound(128 * 2**20, 32 * 2**20),
    )


def read_bound(
    env: Env, name: str, name_of_client: str, usual: Bound, *, at_least: int = 1, at_most: int = 2**31
) -> Bound:
    """A bound of two settings. Where only that of all is set, a client's default is never above it."""
    in_all = env.whole(name, usual.in_all, at_least=at_least, at_most=at_most)
    of_client = env.whole(name_of_client, min(usual.of_client, in_all), at_least=at_least, at_most=at_most)
    env.require(of_client <= in_all, f"{name_of_client}={of_client}: must be at most {name}={in_all}")
    return Bound(in_all, min(of_client, in_all))


def read_held_limits(env: Env, http: HttpLimits, *, largest_body: int) -> HeldLimits:
    """What clients may hold; `largest_body` must fit in what one of them may."""
    usual = usual_held(http.connections)
    requests = env.whole("ACKED_REQUESTS_PER_CLIENT", usual.requests.of_client)
    env.require(
        1 <= requests <= http.connections,
        f"ACKED_REQUESTS_PER_CLIENT={requests}: must be 1 to ACKED_MAX_CONNECTIONS={http.connections}",
    )
    polls = read_bound(env, "ACKED_LONG_POLLS", "ACKED_LONG_POLLS_PER_CLIENT", usual.long_polls)
    env.require(
        polls.in_all < http.connections,
        f"ACKED_LONG_POLLS={polls.in_all}: must be less than ACKED_MAX_CONNECTIONS={http.connections}, "
        "or long polls could hold every connection",
    )
    held_bytes = read_bound(env, "ACKED_HELD_BYTES", "ACKED_HELD_BYTES_PER_CLIENT", usual.bytes, at_least=largest_body)
    return HeldLimits(Bound(http.connections, max(1, min(requests, http.connections))), polls, held_bytes)


def read_http_limits(env: Env) -> HttpLimits:
    """The limits of an HTTP service."""
    usual = HttpLimits()
    return HttpLimits(
        connections=env.whole("ACKED_MAX_CONNECTIONS", usual.connections, at_least=16, at_most=1_000_000),
        first_byte_s=env.seconds("ACKED_FIRST_BYTE_TIMEOUT_S", usual.first_byte_s),
        head_s=env.seconds("ACKED_HEAD_TIMEOUT_S", usual.head_s),
        body_s=env.seconds("ACKED_BODY_TIMEOUT_S", usual.body_s),
        idle_s=env.seconds("ACKED_IDLE_TIMEOUT_S", usual.idle_s),
    )


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """What every service needs to know."""

    mongo_url: str = field(repr=False)
    amqp_url: str = field(repr=False)
    database: str
    host: str
    log_level: str
    lease_s: float
    renewal_s: float
    sweep_tick_s: float
    grace_s: float
    republish_after_s: float
    expires_in_s: float
    retention_s: float
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    asks_for_tokens: bool
    """Whether clients must show a token; where they need not, only this machine may reach the service."""
    published_on_loopback: bool
    """Whether something in front, such as a container's published port, lets only this machine reach the service."""
    rate_per_s: float
    """Requests of one client that one process takes in the long run; 0: any number."""
    rate_burst: int
    metrics_host: str
    metrics_port: int
    """The first port that may serve `/metrics` by itself; 0: none does."""
    run_file: Path | None
    """Where an HTTP service tells its process id and the port that it alone answers on; None: it has no such port."""
    has_development_secret: bool
    """Whether a server's password stands in the repository, for everyone to read."""
    crash: FailpointPlan | None = None
    """For tests alone: where this process breaks."""
    unknown: tuple[str, ...] = ()
    """A line for each `ACKED_*` variable that nothing reads."""

    @property
    def warnings(self) -> list[str]:
        """What a process says once in its log when it starts."""
        found = [DEVELOPMENT_WARNING] if self.has_development_secret else []
        return [*found, *(f"ignored: {line}" for line in self.unknown)]


def read_common(env: Env) -> CommonSettings:
    """Reads and cross-checks; problems are collected in `env`."""
    settings = CommonSettings(
        mongo_url=env.server_url(
            "ACKED_MONGO_URL", "mongodb://127.0.0.1:27017/?replicaSet=acked", "ACKED_MONGO_PASSWORD"
        ),
        amqp_url=env.server_url("ACKED_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/", "ACKED_AMQP_PASSWORD"),
        database=env.text("ACKED_DATABASE", "acked"),
        host=env.text("ACKED_HOST", "127.0.0.1"),
        log_level=env.text("ACKED_LOG_LEVEL", "info").lower(),
        lease_s=env.seconds("ACKED_LEASE_S", 30.0, at_least=1.0),
        renewal_s=env.seconds("ACKED_RENEWAL_S", 8.0, at_least=0.1),
        sweep_tick_s=env.seconds("ACKED_SWEEP_TICK_S", 0.5, at_least=0.05),
        grace_s=env.seconds("ACKED_GRACE_S", 10.0, at_least=0.1),
        republish_after_s=env.seconds("ACKED_REPUBLISH_AFTER_S", 30.0, at_least=0.1),
        expires_in_s=env.seconds("ACKED_EXPIRES_IN_S", 30 * 86400.0),
        retention_s=env.seconds("ACKED_RETENTION_S", 30 * 86400.0),
        allowed_hosts=env.hosts("ACKED_ALLOWED_HOSTS"),
        allowed_origins=env.origins("ACKED_ALLOWED_ORIGINS"),
        asks_for_tokens=env.choice("ACKED_ACCESS", ("tokens", "off"), "off") == "tokens",
        published_on_loopback=_published_on_loopback(env),
        rate_per_s=env.rate("ACKED_RATE_PER_S", 1000.0),
        rate_burst=env.whole("ACKED_RATE_BURST", 10_000, at_least=1),
        metrics_host=env.text("ACKED_METRICS_HOST", "127.0.0.1"),
        metrics_port=env.whole("ACKED_METRICS_PORT", 0, at_most=65535),
        run_file=env.path("ACKED_RUN_FILE"),
        crash=_crash_plan(env),
        has_development_secret=env.has_development_secret,
        unknown=env.unknown,
    )
    try:
        addresses(settings.amqp_url)
    except ValueError as error:
        env.require(False, f"ACKED_AMQP_URL: {error}")
    env.require(
        settings.renewal_s * 3 <= settings.lease_s,
        f"ACKED_RENEWAL_S={settings.renewal_s:g}: must be at most a third of ACKED_LEASE_S={settings.lease_s:g}, "
        "or one lost renewal costs the lease",
    )
    env.require(
        settings.log_level in ("debug", "info", "warning", "error"),
        f"ACKED_LOG_LEVEL={settings.log_level}: one of debug, info, warning, error",
    )
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _published_on_loopback(env: Env) -> bool:
    """What `ACKED_PUBLISH_ADDRESS` says where it is set; the switch can only deny it then."""
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
    """A service that others than this machine may reach asks who calls; the problem says how."""
    env.require(
        settings.asks_for_tokens or settings.published_on_loopback or is_loopback(settings.host),
        f"{_reached_at(env, settings)}: others than this machine may reach it, and nobody would have to show a token. "
        "Set ACKED_ACCESS=tokens and make tokens with ./just token make; or, where something in front lets only this "
        "machine through, ACKED_PUBLISHED_ON_LOOPBACK=yes",
    )


def _reached_at(env: Env, settings: CommonSettings) -> str:
    address = env.text("ACKED_PUBLISH_ADDRESS", "")
    return f"ACKED_PUBLISH_ADDRESS={address}" if address else f"ACKED_HOST={settings.host}"


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
        is_loopback(host), f"ACKED_CRASH is for tests alone: refused while ACKED_HOST={host} is reached from outside"
    )
    return plan
