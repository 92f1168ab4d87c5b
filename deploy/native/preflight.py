"""Check the preconditions of a start; each problem is one line that says what to do."""

import platform
import shutil
import socket
import sys
from pathlib import Path

from deploy.native.layout import PORTS_BROWSERS_REFUSE, SERVER_PORT_OFFSET, Layout, Ports
from deploy.native.listeners import holder_of

MIN_FREE_BYTES = 2 * 2**30
MIN_GLIBC = (2, 31)


def problems(layout: Layout) -> list[str]:
    """Return the problems that prevent a start; empty if the stack can start."""
    found = []
    own = layout.own_mongod or layout.own_rabbitmq
    if own and (sys.platform != "linux" or platform.machine() != "x86_64"):
        found.append(
            f"the private servers need Linux on x86-64, this is {sys.platform} on {platform.machine()}: "
            "set ACKED_MONGO_URL and ACKED_AMQP_URL to servers that you run"
        )
    if layout.own_mongod and sys.platform == "linux":
        libc, version = platform.libc_ver()
        if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < MIN_GLIBC:
            found.append(
                f"MongoDB needs glibc 2.31 or newer, this is {libc or 'unknown'} {version}: set ACKED_MONGO_URL"
            )
        if " avx " not in Path("/proc/cpuinfo").read_text().replace("\n", " "):
            found.append("MongoDB needs a CPU with AVX: set ACKED_MONGO_URL to a server on another machine")
    if layout.own_rabbitmq:
        found += [
            f"{program} is missing: RabbitMQ is unpacked with it; on a system without it set ACKED_AMQP_URL"
            for program in ("apt-get", "apt-cache", "dpkg", "ldd")
            if shutil.which(program) is None
        ]
    layout.state.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(layout.state).free
    if free < MIN_FREE_BYTES:
        found.append(f"{free / 2**30:.1f} GiB are free at {layout.state}: free at least 2 GiB")
    found += [_taken(name, port) for name, port in _ports(layout) if not is_free(port)]
    return found


def warnings(layout: Layout) -> list[str]:
    """Return problems that may occur later, a line each; the stack can start anyway."""
    return [*_shared_ports(layout), *_refused_ports(layout.ports)]


def _shared_ports(layout: Layout) -> list[str]:
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return []
    shared = [(name, port) for name, port in _ports(layout) if low <= port <= high]
    if not shared:
        return []
    name, port = shared[0]
    return [
        f"port {port} for {name} is in the kernel's range for outgoing connections ({low} to {high}); one may "
        f"occupy it at the next start: choose an ACKED_PORT_BASE up to {low - SERVER_PORT_OFFSET - 6}"
    ]


def _refused_ports(ports: Ports) -> list[str]:
    return [
        f"browsers refuse to open port {port} of {name}: choose another ACKED_PORT_BASE to see its pages"
        for name, port in (("the gateway", ports.gateway), ("intake", ports.intake))
        if port in PORTS_BROWSERS_REFUSE
    ]


def _ports(layout: Layout) -> list[tuple[str, int]]:
    ports = layout.ports
    wanted = [("the gateway", ports.gateway), ("intake", ports.intake)]
    if layout.own_mongod:
        wanted.append(("MongoDB", ports.mongod))
    if layout.own_rabbitmq:
        wanted += [("RabbitMQ", ports.amqp), ("epmd", ports.epmd), ("Erlang", ports.erlang)]
    return wanted


def is_free(port: int) -> bool:
    """Return whether a process can listen on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _taken(name: str, port: int) -> str:
    holder = holder_of(port)
    by = f" by {holder}" if holder else ""
    return f"port {port} for {name} is taken{by}: stop it, or choose other ports with ACKED_PORT_BASE={_other_base()}"


def _other_base() -> int:
    """Return a base whose ports are free, if there is one."""
    return next(
        (
            base
            for base in range(9080, 12_000, 100)
            if all(is_free(port) for _, port in _ports(Layout(Path(), Ports(base))))
        ),
        9080,
    )
