"""The peers' virtual environment, made from `peers.lock`; nothing of it is in the product's."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.native.uv import uv_command

LOCK = Path(__file__).with_name("peers.lock")
SHOWN = (
    "celery",
    "dramatiq",
    "taskiq",
    "taskiq-aio-pika",
    "dbos",
    "absurd-sdk",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
)


class PeersError(Exception):
    """The peers can't be installed; the message says why."""


def ensure(folder: Path) -> Path:
    """The Python of the environment; made anew when the lock has changed."""
    python = folder / "bin" / "python"
    mark = folder / ".lock"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return python
    print("installing the peers …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _uv(["venv", "--quiet", "--python", sys.executable, str(folder)])
    _uv(["pip", "install", "--quiet", "--python", str(python), "--require-hashes", "--requirements", str(LOCK)])
    mark.write_text(wanted)
    return python


def versions(python: Path) -> dict[str, str]:
    """Of the peers, and of what serves them."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([python, "-c", code, *SHOWN], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _uv(arguments: list[str]) -> None:
    command, environment = uv_command(arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeersError(f"the peers can't be installed:\n  {done.stderr.strip()[-1000:]}")
