"""The plan of a native stack: its parts, the number of processes of each service, and their environment.

OWNER of the files `scale.json` and `run/port-base` of a state folder.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from acked_common.accounts.grants import Account
from deploy.native import environment
from deploy.native.launch import service_environment
from deploy.native.layout import ROOT, Layout
from deploy.native.supervisor import SERVICES, part_names


class Plan:
    """The plan of the stack of one state folder; valid whether the stack is up or down."""

    def __init__(self, layout: Layout, environ: Mapping[str, str], *, services: bool) -> None:
        """Make the plan of a stack. `services=False` plans its servers alone."""
        self.layout = layout
        self.environ = {
            **environ,
            "ACKED_STATE_DIR": str(layout.state),
            "ACKED_PORT_BASE": str(layout.ports.base),
        }
        """The environment that this command was started with; the parts inherit it from the next start on."""
        self.has_services = services

    @property
    def service_environ(self) -> Mapping[str, str]:
        """The environment of the running services; for a stack that is down, of the next ones."""
        return environment.kept(self.layout) or self.environ

    @property
    def init_environ(self) -> dict[str, str]:
        """The environment of programs that write schema, lanes and tokens: the account is that of `init`."""
        return service_environment(self.layout, self.service_environ, Account.INIT)

    @property
    def worker_stops_within_s(self) -> int:
        """The seconds that a worker may take to stop."""
        return environment.worker_stops_within_s(self.service_environ)

    @property
    def scale(self) -> dict[str, int]:
        """The wanted number of processes of each service."""
        try:
            kept: dict[str, int] = json.loads(self._scale_file.read_text())
        except (OSError, ValueError):
            kept = {}
        return {role: kept.get(role, 1) for role in SERVICES}

    def keep_scale(self, wanted: Mapping[str, int]) -> None:
        """Store new numbers of processes; services that are not named keep theirs."""
        self._scale_file.write_text(json.dumps({**self.scale, **wanted}))

    @property
    def port_base(self) -> int:
        """The base that the stack is up with, regardless of this shell; that of this shell when it is down."""
        try:
            return int(self._base_file.read_text())
        except (OSError, ValueError):
            return self.layout.ports.base

    def keep_port_base(self) -> None:
        """Store the port base with which the stack starts."""
        self._base_file.write_text(f"{self.layout.ports.base}\n")

    def forget_port_base(self) -> None:
        """Remove the port base: the stack is down."""
        self._base_file.unlink(missing_ok=True)

    @property
    def part_names(self) -> list[str]:
        """The parts, in the order of their start."""
        return part_names(self.layout, self.scale, services=self.has_services)

    def run_module(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python module with the account of `init`, and return its output. Blocks until it ends."""
        return subprocess.run(
            [str(self.layout.venv_python), "-m", module, *arguments],
            env=self.init_environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def _scale_file(self) -> Path:
        return self.layout.state / "scale.json"

    @property
    def _base_file(self) -> Path:
        return self.layout.run / "port-base"


def plan_of(layout: Layout, environ: Mapping[str, str] | None, *, services: bool) -> Plan:
    """Return the plan of a stack whose parts inherit `environ`, by default the environment of this process."""
    return Plan(layout, os.environ if environ is None else environ, services=services)
