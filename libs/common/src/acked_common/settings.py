"""OWNER of the environment: settings are read once at start, checked, and frozen. Names carry their units."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

MIN_SECRET_CHARS = 16
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
        self._environ = os.environ if environ is None else environ
        self._problems: list[str] = []
        self.has_development_secret = False
        """Whether one of the secrets that were read stands in the repository."""

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

    def server_url(self, name: str, default: str, password_name: str) -> str:
        """The URL of a server, with a password that is set apart from it: in a file no other process can see it.

        The URL then names the user and has no password of its own.
        """
        url = self.text(name, default)
        password = self.secret(password_name)
        if password is None:
            return url
        scheme, _, rest = url.partition("://")
        authority, slash, tail = rest.partition("/")
        user, _, hosts = authority.rpartition("@")
        if not user or ":" in user:
            self._problems.append(
                f"{password_name} is set: {name} must have a user and no password, as in {scheme}://user@host"
            )
            return url
        return f"{scheme}://{user}:{quote(password, safe='')}@{hosts}{slash}{tail}"

    def names(self, name: str, default: str = "") -> tuple[str, ...]:
        """A comma-separated list."""
        return tuple(part.strip() for part in self.text(name, default).split(",") if part.strip())

    def whole(self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31) -> int:
        """A whole number."""
        return self._number(name, default, int, at_least, at_most, "a whole number")

    def seconds(self, name: str, default: float, *, at_least: float = 0.001, at_most: float = 3.2e9) -> float:
        """A duration in seconds."""
        return self._number(name, default, float, at_least, at_most, "a number of seconds")

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
    max_lost_leases: int
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    run_file: Path | None
    """Where an HTTP service tells its process id and the port that it alone answers on; None: it has no such port."""
    has_development_secret: bool
    """Whether a server's password stands in the repository, for everyone to read."""


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
        max_lost_leases=env.whole("ACKED_MAX_LOST_LEASES", 5, at_least=1),
        allowed_hosts=env.names("ACKED_ALLOWED_HOSTS"),
        allowed_origins=env.names("ACKED_ALLOWED_ORIGINS"),
        run_file=env.path("ACKED_RUN_FILE"),
        has_development_secret=env.has_development_secret,
    )
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
