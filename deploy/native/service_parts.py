"""Start the services of a stack: handler packages, the `init` step, the processes, and the wait for readiness."""

from collections.abc import Callable
from pathlib import Path

from deploy.native import readiness, rolling
from deploy.native.failure import StackError
from deploy.native.handler_packages import HandlerPackages, HandlerPackagesError, tidy
from deploy.native.initialization import InitFailed, initialize
from deploy.native.parts import Parts, program_readiness, wait_for
from deploy.native.plan import Plan
from deploy.native.supervisor import SERVERS
from deploy.operator_token import OperatorToken

Told = Callable[[str], object]
"""Gets a line that a person should read."""


class ServiceParts:
    """Intake, gateways and workers of a stack. All methods raise `StackError`."""

    def __init__(self, plan: Plan, parts: Parts, token: OperatorToken) -> None:
        self._plan = plan
        self._parts = parts
        self._token = token

    def install_packages(self, told: Told) -> None:
        """Install the packages that the handlers require."""
        try:
            for line in self._handler_packages().install():
                told(line)
        except HandlerPackagesError as error:
            raise StackError(str(error)) from None

    def tidy_packages(self, told: Told) -> None:
        """Remove packages that no process can import any more."""
        tidy(self._handler_packages(), told)

    def initialize(self, told: Told) -> None:
        """Run the `init` step: schema, lanes and kinds."""
        command = [str(self._plan.layout.venv_python), "-m", "acked_worker.init"]
        try:
            initialize(command, self._plan.init_environ, told=told)
        except InitFailed as error:
            raise StackError(str(error)) from None

    def start(self) -> None:
        """Start the processes that do not run; return at once."""
        for program in self._programs():
            self._parts.supervisor.start_program(program)

    def wait_ready(self) -> None:
        """Return when all processes are ready and every gateway lists every worker."""
        programs = self._programs()
        for program in programs:
            self.wait_program_ready(program)
        if programs:
            self.wait_listed()

    def wait_program_ready(self, program: str) -> None:
        """Return when one process is ready."""
        wait_for(
            self._plan,
            self._parts,
            program,
            lambda: program_readiness(self._plan, self._parts, program) in readiness.READY,
        )

    def wait_listed(self) -> None:
        """Return when every gateway lists every worker of this stack."""
        names = self._plan.part_names
        workers = {part for part in names if part.startswith("worker-")}
        for gateway in (part for part in names if part.startswith("gateway-")):

            def lists(gateway: str = gateway) -> bool:
                pid = self._parts.pid(gateway)
                return workers <= readiness.listed_workers(self._plan.layout, gateway, pid, self._token)

            program = rolling.programs_of([gateway], self._parts.supervisor.programs())[0]
            wait_for(self._plan, self._parts, program, lists, "it does not list all workers")

    def _programs(self) -> list[str]:
        return [program for program in self._parts.wanted_programs() if program not in SERVERS]

    def _handler_packages(self) -> HandlerPackages:
        return HandlerPackages(Path(self._plan.init_environ["ACKED_HANDLERS_DIR"]))
