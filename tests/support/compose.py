"""A whole stack in containers for acceptance tests, and faults of its containers."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.docker import engine
from deploy.docker.containers import Containers
from deploy.docker.project import Project
from deploy.native.layout import Ports
from deploy.native.ports import free_port_base
from support.stacks import PATIENT, QUICK, TestStack, eventually

BACK_WITHIN_S = 90.0


class ComposeStack(TestStack):
    """A running stack of containers."""

    __test__ = False

    def __init__(self, containers: Containers) -> None:
        self.containers = containers
        self.gateway_port = containers.project.ports.gateway
        self.intake_port = containers.project.ports.intake

    def inspect(self, service: str) -> list[Any]:
        """Inspect the running containers of a service."""
        ids = self.containers.project.containers(service)
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def run_in(self, service: str, script: str) -> str:
        """Run a shell script in the first container of a service and return its output."""
        return docker("exec", self.containers.project.containers(service)[0], "bash", "-c", script)

    def crash(self, service: str) -> None:
        """Kill the processes of one container from inside, so that the engine restarts it."""
        container = self.containers.project.containers(service)[0]
        before = self._starts(container)
        docker("exec", container, "bash", "-c", "kill -KILL -1", may_fail=True)
        eventually(lambda: self._starts(container) > before, within_s=30, what=f"{service} is started again")

    def kill(self, service: str) -> str:
        """Run `docker kill` on one container, which the engine does not restart, and return its id."""
        container = self.containers.project.containers(service)[0]
        docker("kill", container)
        return container

    def wait_ready(self) -> None:
        """Return once both HTTP services are ready."""
        for name in ("gateway", "intake"):
            eventually(
                lambda name=name: self.call("GET", "/readyz", to=name, timeout_s=5).status == 200,  # type: ignore[misc]
                within_s=BACK_WITHIN_S,
                what=f"{name} is ready",
            )

    def _starts(self, container: str) -> int:
        return int(json.loads(docker("inspect", container))[0]["RestartCount"])


def docker(*words: str, may_fail: bool = False) -> str:
    """Run a Docker command and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert may_fail or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout


def require_docker() -> None:
    """Skip unless an engine can run the stack; fail instead in CI."""
    problem = "ACKED_RUNTIME=native" if os.environ.get("ACKED_RUNTIME") == "native" else engine.why_not()
    if problem is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI containers must run: {problem}")
    pytest.skip(f"no containers: {problem}")


@contextmanager
def running_compose_stack(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[ComposeStack]:
    """Run a stack in containers; remove it with its data afterwards."""
    require_docker()
    names = engine.image_names()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    containers = Containers(
        Project(Ports(free_port_base()), {**inherited, **names, **QUICK, **PATIENT, **(environ or {})}, folder)
    )
    try:
        containers.up()
        yield ComposeStack(containers)
    finally:
        containers.remove()
