"""One native stack: up, down, scale and restart."""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from deploy.native import environment, preflight
from deploy.native.failure import StackError as StackError
from deploy.native.failure import part_failed
from deploy.native.launch import owner_urls
from deploy.native.layout import Layout, Ports
from deploy.native.packages import PackagesError, Servers
from deploy.native.parts import Parts
from deploy.native.plan import plan_of
from deploy.native.ports import free_port_base as free_port_base
from deploy.native.processes import end_stack, wait_until
from deploy.native.rollout import roll
from deploy.native.server_parts import ServerParts
from deploy.native.service_parts import ServiceParts, Told
from deploy.native.supervisor import SERVICES, SupervisorError
from deploy.native.targets import write_native_targets
from deploy.native.tokens import operator_token, run_token_command
from deploy.observed import copy_shipped, observed, write_targets
from deploy.operator_token import OperatorToken


class Stack:
    """The stack of one state folder. Commands exclude each other by a lock on it."""

    def __init__(self, layout: Layout, environ: Mapping[str, str] | None = None, *, services: bool = True) -> None:
        """Take the environment that the parts inherit; `services=False` runs the servers alone."""
        self.layout = layout
        self._plan = plan_of(layout, environ, services=services)
        self.parts = Parts(self._plan)
        self._servers = ServerParts(self._plan, self.parts)
        self._services = ServiceParts(self._plan, self.parts, self.token)

    @property
    def urls(self) -> dict[str, str]:
        """The URLs of the parts; those of the servers have the owner's account, which has every right."""
        ports = Ports(self._plan.port_base)
        found = {"gateway": f"http://localhost:{ports.gateway}", "intake": f"http://localhost:{ports.intake}"}
        return {**found, **owner_urls(self.layout, self._plan.environ)}

    @property
    def service_environ(self) -> Mapping[str, str]:
        """The environment of the running services; for a stack that is down, of the next ones."""
        return self._plan.service_environ

    @property
    def scale_now(self) -> dict[str, int]:
        """The wanted number of processes of each service."""
        return self._plan.scale

    @property
    def has_open_mongod(self) -> bool:
        """Whether a version without accounts has started the private mongod, which requires no password then."""
        return self._servers.has_open_mongod

    @property
    def token(self) -> OperatorToken:
        """The recipes' own token."""
        return operator_token(self._plan)

    def token_command(self, words: Sequence[str]) -> int:
        """Make, list or revoke tokens, with the output on this terminal; return the exit code."""
        return run_token_command(self._plan, words)

    def is_up(self) -> bool:
        """Whether the supervisor runs."""
        return self.parts.is_up()

    def up(self, told: Told = lambda line: None) -> None:
        """Start all parts that do not run, and return when all are ready; call `told` with each notice for the user.

        Raises `StackError`.
        """
        with self._locked():
            was_up = self.is_up()
            try:
                if was_up:
                    self.check_is_the_same()
                    self._take_over_parts()
                    self._servers.take_over()
                else:
                    self._start_supervisor()
                self._servers.start()
                if self._plan.has_services:
                    if not was_up:
                        self._services.install_packages(told)
                        self._services.tidy_packages(told)
                    self._services.initialize(told)
                    self._services.start()
                    self._services.wait_ready()
                    self._tell_prometheus()
            except BaseException as error:
                if not was_up:
                    self._down()
                if isinstance(error, SupervisorError):
                    raise part_failed(self.layout, "supervisor", str(error)) from None
                raise

    def down(self) -> None:
        """Stop everything; data stays. Raises `StackError` if a process of the stack does not end."""
        with self._locked():
            self._down()

    def scale(self, wanted: Mapping[str, int]) -> bool:
        """Change how many processes of each service run.

        Returns when all are ready, surplus ones are gone, and each gateway lists the workers. False: the stack is down,
        and the next `up` starts these numbers.
        """
        with self._locked():
            is_up = self.is_up()
            if is_up:
                self.check_is_the_same()
                self._servers.take_over()
            self._plan.keep_scale(wanted)
            if not is_up:
                return False
            self._configure()
            # A part whose configuration changed with a new version was stopped by the reload.
            self._servers.start_stopped()
            self._services.start()
            self._services.wait_ready()
            self._tell_prometheus()
            return True

    def restart(self, roles: Sequence[str] = SERVICES, told: Callable[[str], object] = print) -> None:
        """Restart the services with the current code, handlers and settings: see `rolling`.

        At least one process of each service is ready all the time. If new processes do not become ready, the
        restart ends and the old ones continue. `told` gets a line for each part.
        """
        with self._locked():
            if not self.is_up():
                raise StackError("Acked is down; ./just up starts it")
            self.check_is_the_same()
            self._take_over_parts()
            try:
                scale = self._plan.scale
                ahead = {role: environment.restart_ahead(self._plan.environ, scale[role]) for role in roles}
            except environment.EnvironmentValueError as error:
                raise StackError(str(error)) from None
            self._servers.take_over()
            # What runs may have been promised more time than what comes.
            self.parts.longest_stop_s = self._plan.worker_stops_within_s
            proved = environment.kept(self.layout)
            environment.keep(self.layout, self._plan.environ)
            try:
                self._services.install_packages(told)
                self._services.initialize(told)
                for role in roles:
                    roll(self.parts, self._services, role, ahead[role], told)
            except BaseException:
                # A process that dies is brought back with settings that work.
                environment.keep(self.layout, proved or self._plan.environ)
                raise
            self._services.wait_listed()
            self._tell_prometheus()
            # Not while processes run that may still import them.
            self._services.tidy_packages(told)
            if len(roles) == len(SERVICES):
                # Each service has its passwords, so a mongod that starts from now on may require them.
                self.layout.accounts_mark.touch()

    def check_is_the_same(self) -> None:
        """Raise `StackError` if this shell asks for other ports or servers than the stack is up with."""
        base = self._plan.port_base
        if base != self.layout.ports.base:
            raise StackError(
                f"this stack is up with ACKED_PORT_BASE={base}: use that value, or run ./just down first to move it"
            )
        running = self.parts.known().keys()
        for variable, part, own in (
            ("ACKED_MONGO_URL", "mongod", self.layout.own_mongod),
            ("ACKED_AMQP_URL", "rabbitmq", self.layout.own_rabbitmq),
        ):
            if own != (part in running):
                raise StackError(
                    f"this stack is up {'without' if own else 'with'} a {part} of its own: "
                    f"{'set' if own else 'unset'} {variable}, or run ./just down first to change it"
                )

    def _take_over_parts(self) -> None:
        """Repair an interrupted scale: wanted parts that the supervisor lacks, and surplus ones."""
        if self.parts.supervisor.programs().keys() != set(self.parts.wanted_programs()):
            self._configure()

    def _configure(self) -> None:
        self.parts.supervisor.write_configuration(self.parts.wanted_programs())
        self.parts.supervisor.reload()

    def _start_supervisor(self) -> None:
        self._end_leftovers()
        if found := preflight.problems(self.layout):
            raise StackError("can't start:\n  " + "\n  ".join(found))
        try:
            Servers(self.layout.servers).ensure(mongod=self.layout.own_mongod, rabbitmq=self.layout.own_rabbitmq)
        except PackagesError as error:
            raise StackError(str(error)) from None
        self.parts.supervisor.write_configuration(self.parts.wanted_programs())
        self._plan.keep_port_base()
        self.layout.accounts_mark.touch()
        environment.keep(self.layout, self._plan.environ)
        try:
            self.parts.supervisor.start(self._plan.environ)
        except SupervisorError as error:
            raise StackError(str(error)) from None
        if not wait_until(self.is_up, 15.0):
            raise part_failed(self.layout, "supervisor", "does not respond")

    def _down(self) -> None:
        try:
            self._stop_in_order()
        except SupervisorError:
            # It died or hangs; the processes that it leaves behind are ended below.
            pass
        self._end_leftovers()
        self.layout.socket.unlink(missing_ok=True)
        self._plan.forget_port_base()
        self.layout.accounts_mark.unlink(missing_ok=True)
        environment.forget(self.layout)
        if (folder := observed(self.layout.state)).exists():
            write_targets(folder, [])

    def _tell_prometheus(self) -> None:
        """Write what Prometheus reads of this stack; between two commands the supervisor does."""
        copy_shipped(observed(self.layout.state))
        programs = self.parts.supervisor.programs()
        write_native_targets(self.layout, {program: int(info["pid"]) for program, info in programs.items()})

    def _stop_in_order(self) -> None:
        if self.is_up():
            supervisor = self.parts.supervisor
            running = [name for name, info in supervisor.programs().items() if info["pid"]]
            # Workers first: they release their jobs while the servers still respond.
            for role in ("worker", "intake", "gateway", "rabbitmq", "mongod", "epmd"):
                supervisor.stop_programs([name for name in running if name.split("-", 1)[0] == role])
            supervisor.shutdown()
            wait_until(lambda: not self.parts.processes(), 15.0)

    def _end_leftovers(self) -> None:
        """End processes of a dead or unresponsive supervisor."""
        if left := end_stack(self.layout, services_end_within_s=self._plan.worker_stops_within_s):
            lines = "\n  ".join(f"{pid} {line[:100]}" for pid, line in left.items())
            raise StackError(f"these processes do not end; end them by hand:\n  {lines}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.layout.state.mkdir(parents=True, exist_ok=True)
        with (self.layout.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another command is running on this stack; waiting for it …", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
