"""The parts of a native stack: their states and processes, and starting, stopping or killing one of them."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from deploy.native import readiness, rolling
from deploy.native.failure import part_failed
from deploy.native.patience import Patience
from deploy.native.plan import Plan
from deploy.native.processes import stack_processes
from deploy.native.supervisor import Supervisor

POLL_S = 0.05
SUPERVISOR_POLL_S = 0.25
"""Each call costs 2 ms of CPU, which the part that starts could use."""


class Parts:
    """The parts as the supervisor and the process table show them. A failed call raises `SupervisorError`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._layout = plan.layout
        self.longest_stop_s = 0
        """The time that running workers have been promised to stop in, where it exceeds that of the plan."""

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor; its calls wait at least as long as a worker may take to stop."""
        return Supervisor(
            self._layout, worker_stops_within_s=max(self._plan.worker_stops_within_s, self.longest_stop_s)
        )

    def is_up(self) -> bool:
        """Whether the supervisor runs."""
        return self.supervisor.is_running()

    def known(self) -> dict[str, Mapping[str, Any]]:
        """Return the supervisor's record of each part; empty while it does not run."""
        return rolling.current_parts(self.supervisor.programs()) if self.is_up() else {}

    def wanted_programs(self) -> list[str]:
        """Return the programs of the supervisor that run the planned parts, or are to run them."""
        return rolling.programs_of(self._plan.part_names, self.supervisor.programs() if self.is_up() else {})

    def pids(self) -> dict[str, int]:
        """Return the process id of each part; 0 for one that does not run."""
        return {name: int(info["pid"]) for name, info in self.known().items()}

    def pid(self, part: str) -> int:
        """Return the process id of a running part."""
        return self.pids()[part]

    def processes(self) -> dict[int, str]:
        """Return the command lines of all processes of this stack by id, the supervisor included."""
        return stack_processes(self._layout)

    def start(self, part: str) -> None:
        """Start a part that was stopped; one that runs stays as it is."""
        self.supervisor.start_program(self._program_of(part))

    def stop(self, part: str) -> None:
        """Stop a part until `start`, and wait for its end."""
        self.supervisor.stop_programs([self._program_of(part)])

    def kill(self, part: str) -> int:
        """Send SIGKILL to a part, which the supervisor restarts; return the id that was killed."""
        pid = self.pid(part)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid

    def health_port(self, part: str) -> int | None:
        """Return the port of a part's `/readyz`; None while it does not listen."""
        return readiness.health_port(self._layout, part, self.pids().get(part, 0))

    def readiness(self, part: str) -> str:
        """Return `ready`, `degraded`, or what is wrong."""
        return readiness.readiness(self._layout, part, self.pids().get(part, 0))

    def _program_of(self, part: str) -> str:
        return rolling.programs_of([part], self.supervisor.programs())[0]


def wait_for(plan: Plan, parts: Parts, program: str, holds: Callable[[], bool], otherwise: str = "") -> None:
    """Return when the condition holds. Raise `StackError` if the part ends repeatedly, or if the time is over.

    `otherwise` is the cause in the error, by default the readiness of the program.
    """
    part = rolling.part_of(program)
    patience = Patience(part, lambda line: print(line, flush=True))
    poll_at = time.monotonic()
    while not holds():
        time.sleep(POLL_S)
        if time.monotonic() < poll_at:
            continue
        poll_at = time.monotonic() + SUPERVISOR_POLL_S
        info = parts.supervisor.programs().get(program, {})
        state, pid = info.get("statename", "UNKNOWN"), info.get("pid", 0)
        why = patience.over(state, pid, lambda: program_readiness(plan, parts, program))
        if why is not None:
            raise part_failed(plan.layout, part, why or otherwise or program_readiness(plan, parts, program))


def program_readiness(plan: Plan, parts: Parts, program: str) -> str:
    """Return the readiness of one program: two may be the same part while a restart replaces it."""
    pid = parts.supervisor.programs().get(program, {}).get("pid", 0)
    return readiness.readiness(plan.layout, rolling.part_of(program), pid)
