"""The worker's settings."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from acked_common.settings import CommonSettings, Env, read_common


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs beside the common part."""

    common: CommonSettings
    name: str
    slots: int
    threads: int
    handler_modules: tuple[str, ...]
    handlers_dir: Path | None
    health_port: int
    """0: the kernel chooses one."""
    init_replica_set: str
    """`name:port` of the one member that `init` makes a replica set of; empty: the servers are somebody else's."""
    run_dir: Path | None
    """Where `<name>.json` tells the process id and the health port."""
    drain_s: float
    hold_s: float
    """How long an acknowledgement waits for a free slot before the consumer pauses."""
    watchdog_s: float
    handler_stuck_s: float
    """How long handlers may keep all others from starting before the process is ended."""


def read_settings(env: Env | None = None) -> WorkerSettings:
    """Reads and checks all of the worker's settings."""
    env = env or Env()
    settings = WorkerSettings(
        common=read_common(env),
        name=env.text("ACKED_WORKER_NAME", f"{socket.gethostname()}-{os.getpid()}"),
        slots=env.whole("ACKED_WORKER_SLOTS", 200, at_least=1, at_most=100_000),
        threads=env.whole("ACKED_WORKER_THREADS", 8, at_least=1, at_most=1000),
        handler_modules=env.names("ACKED_HANDLER_MODULES", "acked.kinds"),
        handlers_dir=env.path("ACKED_HANDLERS_DIR"),
        health_port=env.whole("ACKED_HEALTH_PORT", 0, at_most=65535),
        init_replica_set=env.text("ACKED_INIT_REPLICA_SET", ""),
        run_dir=env.path("ACKED_RUN_DIR"),
        drain_s=env.seconds("ACKED_DRAIN_S", 25.0),
        hold_s=env.seconds("ACKED_HOLD_S", 10.0, at_most=600),
        handler_stuck_s=env.seconds("ACKED_HANDLER_STUCK_S", 120.0, at_least=5),
        watchdog_s=env.seconds("ACKED_WATCHDOG_S", 60.0, at_least=5),
    )
    env.require(
        settings.common.renewal_s < settings.watchdog_s,
        f"ACKED_WATCHDOG_S={settings.watchdog_s:g}: must be longer than ACKED_RENEWAL_S={settings.common.renewal_s:g}",
    )
    env.finish()
    return settings
