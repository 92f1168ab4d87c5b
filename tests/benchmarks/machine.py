"""The machine, and the versions of what runs on it."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks import peer_env
from benchmarks.bench import Bench
from deploy.native.packages import Servers

OURS = ("starlette", "uvicorn", "uvloop", "httptools", "motor", "pymongo", "aio-pika", "websockets")


def described() -> dict[str, str]:
    """Cores, memory, kernel, CPU, and what else was running when it began."""
    memory = re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "RAM": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "CPU": model[1] if model else "unknown",
        "Python": platform.python_version(),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def versions(bench: Bench) -> dict[str, str]:
    """Of servers, of ours, and of the peers."""
    servers = Servers(bench.ours.stack.layout.servers)
    found = {
        "MongoDB": str(bench.ours.mongo.server_info()["version"]),
        "RabbitMQ": servers.rabbitmq_server.parents[1].name.removeprefix("rabbitmq_server-"),
        "DBOS database": bench.database,
        "load generator": bench.loader.name,
    }
    found |= {f"ours: {name}": importlib.metadata.version(name) for name in OURS}
    found |= {f"peers: {name}": version for name, version in peer_env.versions(bench.place.python).items()}
    return found | _commit()


def _commit() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {"Acked": done.stdout.strip()} if done.returncode == 0 else {}
