"""The worker's settings."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from acked_common.channel.frames import MAX_WORKER_NAME_CHARS, PATH
from acked_common.runtime.env import Env
from acked_common.runtime.settings import CommonSettings, read_common

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - told apart, not listened on


@dataclass(frozen=True, slots=True)
class GatewayUrl:
    """The addresses of gateways; one name may resolve to several."""

    scheme: str
    host: str
    port: int

    @property
    def text(self) -> str:
        """The URL of the worker channel."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{PATH}"


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs run at once."""

    slots: int
    """Of `async def` handlers."""
    threads: int
    """Of plain handlers."""
    suspects: int
    """Jobs that run isolated, each in a process of its own."""

    def slots_for(self, *, is_async: bool) -> int:
        """Return the slots that handlers of one sort share."""
        return self.slots if is_async else self.threads


@dataclass(frozen=True, slots=True)
class HandlerSources:
    """Where handlers are imported from."""

    modules: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Where `/healthz`, `/readyz` and `/metrics` are served."""

    host: str
    port: int
    """0: the kernel chooses one."""
    run_dir: Path | None
    """Directory of `<name>.json`, which holds the process id and the port."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a worker waits, in seconds."""

    drain_s: float
    """For running jobs, at a stop."""
    hold_s: float
    """For a free slot, before an acknowledgement; then the consumer pauses."""
    watchdog_s: float
    """For the plumbing, before the process is ended."""
    handler_stuck_s: float
    """For handlers that prevent all others from starting, before the process is ended."""


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """Which gateways the worker connects to, and how it authenticates."""

    urls: tuple[GatewayUrl, ...]
    secret: str | None = field(repr=False)
    """Authenticates the worker; without it, the worker connects to none."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker."""

    common: CommonSettings
    name: str
    capacity: Capacity
    handlers: HandlerSources
    probes: ProbeSettings
    timeouts: Timeouts
    gateways: GatewayAccess
    output_bytes_per_s: int
    """The rate of handler output that is forwarded, in bytes per second; 0: unlimited."""


def read_settings(env: Env | None = None) -> WorkerSettings:
    """Read and check all of the worker's settings."""
    env = env or Env()
    common = read_common(env)
    settings = WorkerSettings(
        common=common,
        name=env.text("ACKED_WORKER_NAME", f"{socket.gethostname()}-{os.getpid()}"),
        capacity=Capacity(
            slots=env.whole("ACKED_WORKER_SLOTS", 200, at_least=1, at_most=100_000),
            threads=env.whole("ACKED_WORKER_THREADS", 8, at_least=1, at_most=1000),
            suspects=env.whole("ACKED_WORKER_SUSPECTS", 50, at_least=1, at_most=1000),
        ),
        handlers=HandlerSources(
            modules=env.names("ACKED_HANDLER_MODULES", "acked.kinds"), folder=env.path("ACKED_HANDLERS_DIR")
        ),
        probes=ProbeSettings(
            host=env.text("ACKED_HEALTH_HOST", common.listen.host),
            port=env.whole("ACKED_HEALTH_PORT", 0, at_most=65535),
            run_dir=env.path("ACKED_RUN_DIR"),
        ),
        timeouts=Timeouts(
            drain_s=env.seconds("ACKED_DRAIN_S", 25.0),
            hold_s=env.seconds("ACKED_HOLD_S", 10.0, at_most=600),
            handler_stuck_s=env.seconds("ACKED_HANDLER_STUCK_S", 120.0, at_least=5),
            watchdog_s=env.seconds("ACKED_WATCHDOG_S", 60.0, at_least=5),
        ),
        output_bytes_per_s=env.whole("ACKED_OUTPUT_BYTES_PER_S", 0, at_most=1 << 30),
        gateways=GatewayAccess(urls=_gateways(env, common.listen.host), secret=env.secret("ACKED_WORKER_SECRET")),
    )
    watchdog_s = settings.timeouts.watchdog_s
    env.require(
        settings.common.times.renewal_s < watchdog_s,
        f"ACKED_WATCHDOG_S={watchdog_s:g}: must be longer than ACKED_RENEWAL_S={settings.common.times.renewal_s:g}",
    )
    env.require(
        len(settings.name) <= MAX_WORKER_NAME_CHARS,
        f"ACKED_WORKER_NAME: must have at most {MAX_WORKER_NAME_CHARS} characters",
    )
    env.finish()
    return settings


def _gateways(env: Env, host: str) -> tuple[GatewayUrl, ...]:
    port = env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535)
    near = "127.0.0.1" if host in _WILDCARDS else host
    found: list[GatewayUrl] = []
    for text in env.names("ACKED_GATEWAY_URL"):
        try:
            parts = urlsplit(text)
            is_usable = parts.scheme in ("ws", "wss") and parts.hostname and parts.path in ("", "/")
            is_usable = is_usable and not (parts.query or parts.fragment or parts.username)
            url = GatewayUrl(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80))
        except ValueError:
            is_usable = False
        if is_usable:
            found.append(url)
        env.require(bool(is_usable), f"ACKED_GATEWAY_URL={text}: must look like ws://gateway:8080, without a path")
    return tuple(dict.fromkeys(found)) or (GatewayUrl("ws", near, port),)
