"""One stack in containers: up, down, scale and restart, through `docker compose`."""

import http.client
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.docker import engine
from deploy.docker.project import PROXIED, ContainersError, Project
from deploy.docker.running_settings import forget_running
from deploy.docker.targets import container_targets
from deploy.native.layout import ROOT
from deploy.observed import copy_shipped, observed, write_targets
from deploy.operator_token import ACCESS, MAKE, OperatorToken

STEPS = ("hand-out", "accounts", "init")
"""What runs to its end before the services start."""
LISTED_WITHIN_S = 30.0
POLL_S = 0.1
ACCESS_RUN = ("run", "--rm", "--no-deps", "-T", "init", "python", "-m", ACCESS)
"""In the container that may write what `init` writes."""


def not_serving(containers: Sequence[Mapping[str, Any]], wanted: Mapping[str, int]) -> list[str]:
    """Return the problems of containers that `docker compose ps` lists. Steps that have ended are no services."""
    found = []
    for service, number in wanted.items():
        states = [each for each in containers if each["Service"] == service]
        serving = [each for each in states if each["State"] == "running" and each.get("Health", "") in ("", "healthy")]
        found += [f"{each['Name']} ({each.get('Health') or each['State']})" for each in states if each not in serving]
        if len(states) < number:
            found.append(f"{service} ({len(states)} of {number})")
    return found


class Containers:
    """The stack of one Compose project."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def is_up(self) -> bool:
        """Whether any container of the stack runs."""
        return bool(self.project.containers())

    def up(self) -> None:
        """Build changed images, start all containers and return when they are ready. Raise `ContainersError`."""
        self.project.prepare()
        self.project.compose("build", "--quiet")
        self._start()

    def scale(self, wanted: Mapping[str, int]) -> bool:
        """Change how many containers of each service run; return whether the stack is up."""
        runs = self.is_up()
        self.project.prepare()
        self.project.keep_scale(wanted)
        if runs:
            self._start()
        return runs

    def restart(self, services: Sequence[str]) -> None:
        """Replace the containers of services.

        New ones are ready before the old ones stop, except where a container publishes a port itself.
        """
        self.project.prepare()
        self.project.compose("build", "--quiet")
        for role in services:
            number = self.project.scale[role]
            if role in PROXIED and not self.project.is_proxied:
                self.project.compose("up", "-d", "--no-deps", "--force-recreate", *self._waiting(), role)
                continue
            old = self.project.containers(role)
            self.project.compose(
                *("up", "-d", "--no-deps", "--no-recreate", *self._waiting()), f"--scale={role}={number * 2}", role
            )
            if old:
                # As Compose would: the service's own time to stop is a part of each container.
                self.project.docker("stop", *old)
                self.project.docker("rm", *old)
        self._wait_listed()
        self._tell_prometheus()

    def down(self) -> None:
        """Remove the containers and keep the volumes with all data."""
        self.project.prepare()
        # Whatever is there, also what only the proxy's file names.
        self.project.compose("down", "--remove-orphans")
        forget_running(self.project)
        write_targets(observed(self.project.state), [])

    def remove(self) -> None:
        """Remove the containers and all data, for tests."""
        self.project.prepare()
        self.project.compose("down", "--remove-orphans", "--volumes", "--timeout", "5")

    def logs(self, service: str, lines: int, *, follow: bool) -> None:
        """Print the last log lines of a service's containers, or of all."""
        wanted = [
            "logs",
            "--no-color",
            f"--tail={lines}",
            *(["--follow"] if follow else []),
            *([service] if service else []),
        ]
        self.project.compose(*wanted, shown=True)

    def status(self) -> list[str]:
        """Print the containers; return the services that do not serve, with their problems. Empty for a whole stack."""
        self.project.prepare()
        self.project.compose(
            "ps", "--all", "--format", "table {{.Name}}\t{{.Service}}\t{{.Status}}\t{{.Ports}}", shown=True
        )
        lines = self.project.compose("ps", "--all", "--format", "json").splitlines()
        wanted = {**dict.fromkeys(("mongo", "rabbitmq"), 1), **self.project.scale}
        if self.project.is_proxied:
            wanted["proxy"] = 1
        return not_serving([json.loads(line) for line in lines if line.strip()], wanted)

    @property
    def token(self) -> OperatorToken:
        """The recipes' own token."""
        return OperatorToken(self.project.state / "operator-token", lambda: self._access(MAKE).strip())

    def token_command(self, words: Sequence[str]) -> int:
        """Make, list or revoke tokens, with the output on this terminal; return the exit code."""
        self.project.prepare()
        done = subprocess.run(
            ["docker", *self.project.compose_words(*ACCESS_RUN, *words)],
            env=self.project.environ,
            check=False,
            cwd=ROOT,
        )
        return done.returncode

    def _access(self, words: Sequence[str]) -> str:
        return self.project.compose(*ACCESS_RUN, *words)

    def _start(self) -> None:
        if self.project.is_proxied:
            variable, _ = engine.PROXY_IMAGE
            image = self.project.environ[variable]
            if not engine.image_is_there(image) and not engine.pull(image):
                raise ContainersError(f"several gateways or intakes need a proxy; the image {image} can't be pulled")
        numbers = [f"--scale={role}={number}" for role, number in self.project.scale.items()]
        try:
            self.project.compose("up", "-d", "--remove-orphans", *self._waiting(), *numbers)
        except ContainersError as error:
            raise ContainersError(f"{error}{self._said_by_failed_steps()}") from None
        self._wait_listed()
        self._tell_prometheus()

    def _tell_prometheus(self) -> None:
        """Write the targets of this stack for Prometheus. The address of a container changes only with these
        commands."""
        copy_shipped(observed(self.project.state))
        # On loopback, as by default, no other container reaches it.
        is_reached = self.project.environ.get("ACKED_METRICS_HOST", "")
        port = self.project.environ.get("ACKED_METRICS_PORT", "") if is_reached else ""
        containers = self.project.containers()
        inspected = json.loads(self.project.docker("inspect", *containers)) if containers else []
        write_targets(observed(self.project.state), container_targets(inspected, self.project.name, port))

    def _said_by_failed_steps(self) -> str:
        """Return why a step before the services failed: Compose only reports that it did."""
        said = ""
        for step in STEPS:
            wanted = [
                f"--filter=label=com.docker.compose.{name}"
                for name in (f"project={self.project.name}", f"service={step}")
            ]
            for container in self.project.docker("ps", "--all", "--quiet", *wanted).split():
                if self.project.docker("inspect", "--format={{.State.ExitCode}}", container).strip() != "0":
                    said += (
                        f"\n{step} said:\n  " + self.project.docker("logs", "--tail=3", container, both=True).strip()
                    )
        return said

    def _waiting(self) -> list[str]:
        # Without a limit of its own: handlers may import for as long as they need. What ends or gets unhealthy ends it.
        return ["--wait"]

    def _wait_listed(self) -> None:
        """Return when the gateway lists all workers."""
        wanted = self.project.scale["worker"]
        end = time.monotonic() + LISTED_WITHIN_S
        while len((self.told_by_gateway("/workers") or {}).get("workers", ())) < wanted:
            if time.monotonic() > end:
                raise ContainersError(f"the gateway does not list {wanted} workers: ./just logs worker")
            time.sleep(POLL_S)

    def told_by_gateway(self, path: str) -> Any:
        """Return what the gateway responds to a GET; None while that is no 200."""
        connection = http.client.HTTPConnection(self.project.reached_at, self.project.ports.gateway, timeout=5)

        def ask(headers: dict[str, str]) -> tuple[int, Any]:
            connection.request("GET", path, headers={"Host": "localhost", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        try:
            status, body = self.token.asked(ask)
            return body if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
