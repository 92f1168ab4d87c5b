"""One native stack: up, down, scale, and what the tests do to it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acked_common.accounts.grants import Account
from deploy import console
from deploy.native import environment, preflight, rabbitmqctl, readiness, rolling
from deploy.native.handler_packages import HandlerPackages, HandlerPackagesError, tidy
from deploy.native.initialization import LOG_LINES, InitFailed, initialize
from deploy.native.launch import TRANSITION, owner_urls, service_environment, write_definitions
from deploy.native.layout import ROOT, Layout, Ports
from deploy.native.packages import PackagesError, Servers
from deploy.native.patience import Patience
from deploy.native.ports import free_port_base as free_port_base
from deploy.native.processes import end_stack, stack_processes, wait_until
from deploy.native.supervisor import SERVERS, SERVICES, Supervisor, SupervisorError, part_names
from deploy.operator_token import ACCESS, MAKE, OperatorToken


class StackError(Exception):
    """Something could not be done; the message says which part, why, and the last lines of its log."""


class Stack:
    """The stack of one state folder."""

    def __init__(self, layout: Layout, environ: Mapping[str, str] | None = None, *, services: bool = True) -> None:
        """`environ` is what the parts inherit; `services=False` runs the servers alone."""
        self.layout = layout
        self._environ = {
            **(os.environ if environ is None else environ),
            "ACKED_STATE_DIR": str(layout.state),
            "ACKED_PORT_BASE": str(layout.ports.base),
        }
        self._services = services
        self._longest_stop_s = 0

    @property
    def urls(self) -> dict[str, str]:
        """Where the parts are reached; the servers as their owner, who may do everything."""
        ports = Ports(self._base_now)
        found = {"gateway": f"http://localhost:{ports.gateway}", "intake": f"http://localhost:{ports.intake}"}
        return {**found, **owner_urls(self.layout, self._environ)}

    @property
    def service_environ(self) -> Mapping[str, str]:
        """What the services run with; for a stack that is down, what they would."""
        return environment.kept(self.layout) or self._environ

    @property
    def _worker_stops_within_s(self) -> int:
        return environment.worker_stops_within_s(self.service_environ)

    @property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.layout, worker_stops_within_s=max(self._worker_stops_within_s, self._longest_stop_s))

    @property
    def _base_file(self) -> Path:
        return self.layout.run / "port-base"

    @property
    def _base_now(self) -> int:
        """The base that the stack is up with, whatever this shell says; that of this shell when it is down."""
        try:
            return int(self._base_file.read_text())
        except (OSError, ValueError):
            return self.layout.ports.base

    @property
    def scale_now(self) -> dict[str, int]:
        """How many processes of each service are wanted."""
        try:
            kept: dict[str, int] = json.loads((self.layout.state / "scale.json").read_text())
        except (OSError, ValueError):
            kept = {}
        return {role: kept.get(role, 1) for role in SERVICES}

    def is_up(self) -> bool:
        """Whether the supervisor runs."""
        return self._supervisor.is_running()

    def up(self, told: Callable[[str], object] = lambda line: None) -> None:
        """Starts what does not run, and returns when all is ready; `told` gets what a person should know.

        Raises `StackError`.
        """
        with self._locked():
            was_up = self.is_up()
            try:
                if was_up:
                    self.check_is_the_same()
                    self._take_over_parts()
                    self._take_over_servers()
                else:
                    self._start_supervisor()
                self._start_servers()
                if self._services:
                    if not was_up:
                        self._install_packages(told)
                        tidy(self._handler_packages(), told)
                    self._initialize(told)
                    self._start_services()
                    self._wait_ready()
            except BaseException as error:
                if not was_up:
                    self._down()
                if isinstance(error, SupervisorError):
                    raise self._failed("supervisor", str(error)) from None
                raise

    def down(self) -> None:
        """Stops everything; data is kept. Raises `StackError` when a process of the stack is left."""
        with self._locked():
            self._down()

    def scale(self, wanted: Mapping[str, int]) -> bool:
        """Changes how many processes of each service run, and returns when all are ready, those that are too many are
        gone, and each gateway lists the workers. False: the stack is down, the next `up` starts so many."""
        with self._locked():
            is_up = self.is_up()
            if is_up:
                self.check_is_the_same()
                self._take_over_servers()
            (self.layout.state / "scale.json").write_text(json.dumps({**self.scale_now, **wanted}))
            if not is_up:
                return False
            self._supervisor.write_configuration(self._programs())
            self._supervisor.reload()
            # A part whose configuration changed with a new version was stopped by the reload.
            self._start_servers()
            self._start_services()
            self._wait_ready()
            return True

    def restart(self, roles: Sequence[str] = SERVICES, told: Callable[[str], object] = print) -> None:
        """Starts the services anew with the code, the handlers and the settings of now: see `rolling`.

        Of each service one process at least is ready all the time. New processes that do not get ready end the restart:
        the old ones go on as they are. `told` gets a line for each part.
        """
        with self._locked():
            if not self.is_up():
                raise StackError("Acked is down; ./just up starts it")
            self.check_is_the_same()
            self._take_over_parts()
            try:
                ahead = {role: environment.restart_ahead(self._environ, self.scale_now[role]) for role in roles}
            except environment.EnvironmentValueError as error:
                raise StackError(str(error)) from None
            self._take_over_servers()
            # What runs may have been promised more time than what comes.
            self._longest_stop_s = self._worker_stops_within_s
            proved = environment.kept(self.layout)
            environment.keep(self.layout, self._environ)
            try:
                self._install_packages(told)
                self._initialize(told)
                for role in roles:
                    self._roll(role, ahead[role], told)
            except BaseException:
                # A process that dies is brought back with settings that work.
                environment.keep(self.layout, proved or self._environ)
                raise
            self._wait_listed()
            # Not while processes run that may still import them.
            tidy(self._handler_packages(), told)
            if len(roles) == len(SERVICES):
                # Each service has its passwords: a mongod that starts from now on may ask for them.
                self.layout.accounts_mark.touch()

    def _roll(self, role: str, ahead: int, told: Callable[[str], object]) -> None:
        present = self._programs()
        old = [program for program in present if program.split("-", 1)[0] == role]
        first, second = old[:ahead], old[ahead:]
        fresh = {program: rolling.other_of(program) for program in old}
        self._supervisor.write_configuration([*present, *fresh.values()])
        self._supervisor.read_configuration()
        started = time.monotonic()
        try:
            for program in first:
                self._begin(fresh[program])
            for program in first:
                self._wait_for_ready(fresh[program])
                told(f"{rolling.part_of(program)}: the new one ready after {time.monotonic() - started:.1f} s")
        except BaseException:
            for _ in self._supervisor.removed([new for new in fresh.values() if new in self._supervisor.programs()]):
                pass
            raise
        started = time.monotonic()
        for program in self._supervisor.removed(old):
            told(f"{rolling.part_of(program)}: the old one gone after {time.monotonic() - started:.1f} s")
            if program in second:
                self._begin(fresh[program])
        for program in second:
            self._wait_for_ready(fresh[program])
            told(f"{rolling.part_of(program)}: the new one ready after {time.monotonic() - started:.1f} s")
        self._supervisor.write_configuration(self._programs())
        self._supervisor.read_configuration()

    def _begin(self, program: str) -> None:
        self._supervisor.add_program(program)
        self._supervisor.start_program(program)

    def parts(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of each part; empty when it does not run."""
        return self._supervisor.parts() if self.is_up() else {}

    def wanted_parts(self) -> list[str]:
        """The parts that the stack is to have."""
        return self._parts()

    def restarts(self) -> dict[str, int]:
        """How often each part was started again, by the supervisor or by a person, since `up`."""
        return self._supervisor.restarts()

    def pids(self) -> dict[str, int]:
        """The process id of each part; 0 for one that does not run."""
        return {name: int(info["pid"]) for name, info in self.parts().items()}

    def pid(self, part: str) -> int:
        """The process id of a running part."""
        return self.pids()[part]

    def kill(self, part: str) -> int:
        """SIGKILL to a part; the supervisor brings it back. Returns the id that was killed."""
        pid = self.pid(part)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid

    def stop_part(self, part: str) -> None:
        """Stops a part until `start_part`."""
        self._supervisor.stop_part(part)

    def start_part(self, part: str) -> None:
        """Starts a part that was stopped."""
        self._supervisor.start_part(part)

    def health_port(self, part: str) -> int | None:
        """Where a part answers `/readyz`; None while it does not listen."""
        return readiness.health_port(self.layout, part, self.pids().get(part, 0))

    def readiness(self, part: str) -> str:
        """`ready`, `degraded`, or what is wrong."""
        return readiness.readiness(self.layout, part, self.pids().get(part, 0))

    def log_tail(self, part: str, lines: int = LOG_LINES) -> str:
        """The last lines of a part's log."""
        try:
            text = (self.layout.logs / f"{part}.log").read_text("utf-8", "replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:] if lines else ())

    def processes(self) -> dict[int, str]:
        """All processes of this stack, the supervisor included."""
        return stack_processes(self.layout)

    def _parts(self) -> list[str]:
        return part_names(self.layout, self.scale_now, services=self._services)

    def _programs(self) -> list[str]:
        """The programs of the supervisor that these parts are to be."""
        return rolling.programs_of(self._parts(), self._supervisor.programs() if self.is_up() else {})

    def check_is_the_same(self) -> None:
        """A stack keeps its ports and its servers while it is up. Raises `StackError`."""
        base = self._base_now
        if base != self.layout.ports.base:
            raise StackError(
                f"this stack is up with ACKED_PORT_BASE={base}: say that, or run ./just down first to move it"
            )
        running = self._supervisor.parts().keys()
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
        """Mends what a scale that was cut off has left: parts that are wanted and unknown, or the other way round."""
        if self._supervisor.programs().keys() != set(self._programs()):
            self._supervisor.write_configuration(self._programs())
            self._supervisor.reload()

    def _start_supervisor(self) -> None:
        self._end_leftovers()
        if found := preflight.problems(self.layout):
            raise StackError("can't start:\n  " + "\n  ".join(found))
        try:
            Servers(self.layout.servers).ensure(mongod=self.layout.own_mongod, rabbitmq=self.layout.own_rabbitmq)
        except PackagesError as error:
            raise StackError(str(error)) from None
        self._supervisor.write_configuration(self._programs())
        self._base_file.write_text(f"{self.layout.ports.base}\n")
        self.layout.accounts_mark.touch()
        environment.keep(self.layout, self._environ)
        try:
            self._supervisor.start(self._environ)
        except SupervisorError as error:
            raise StackError(str(error)) from None
        if not wait_until(self.is_up, 15.0):
            raise self._failed("supervisor", "does not answer")

    def _start_servers(self) -> None:
        parts = [part for part in self._parts() if part in SERVERS]
        for part in parts:
            self._supervisor.start_part(part)
        ports = {"epmd": self.layout.ports.epmd, "rabbitmq": self.layout.ports.amqp, "mongod": self.layout.ports.mongod}
        for part in sorted(parts, key=("epmd", "mongod", "rabbitmq").index):
            self._wait_for_port(part, ports[part])
            if part == "mongod":
                self._make_replica_set()
                if TRANSITION in self._mongod_options:
                    # It lets everybody in; the accounts are there now.
                    self._supervisor.stop_part(part)
                    self._start_servers()

    def _wait_for_port(self, part: str, port: int) -> None:
        self._wait_for(part, lambda: readiness.listens(port), f"does not listen on port {port}")

    def _make_replica_set(self) -> None:
        done = self._python("deploy.native.replica_set")
        if done.returncode != 0:
            raise self._failed("mongod", f"its replica set or its accounts can't be made: {done.stderr.strip()[-500:]}")

    def _take_over_servers(self) -> None:
        """Makes the services' accounts on running servers that a version without accounts has started."""
        if self.layout.accounts_mark.exists():
            return
        if self.layout.own_mongod:
            self._make_replica_set()
        if self.layout.own_rabbitmq:
            done = rabbitmqctl.run(self.layout, "import_definitions", str(write_definitions(self.layout)))
            if done.returncode != 0:
                raise self._failed("rabbitmq", f"its accounts can't be made: {(done.stderr or done.stdout)[-500:]}")

    @property
    def _mongod_options(self) -> list[str]:
        return self.processes().get(self.pids().get("mongod", 0), "").split()

    @property
    def has_open_mongod(self) -> bool:
        """Whether the private mongod was started by a version without accounts: it asks nobody for a password."""
        return bool(self._mongod_options) and "--keyFile" not in self._mongod_options

    def _handler_packages(self) -> HandlerPackages:
        environ = service_environment(self.layout, self.service_environ, Account.INIT)
        return HandlerPackages(Path(environ["ACKED_HANDLERS_DIR"]))

    def _install_packages(self, told: Callable[[str], object]) -> None:
        try:
            for line in self._handler_packages().install():
                told(line)
        except HandlerPackagesError as error:
            raise StackError(str(error)) from None

    def _initialize(self, told: Callable[[str], object]) -> None:
        command = [str(self.layout.venv_python), "-m", "acked_worker.init"]
        try:
            initialize(command, service_environment(self.layout, self.service_environ, Account.INIT), told=told)
        except InitFailed as error:
            raise StackError(str(error)) from None

    def _python(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.layout.venv_python), "-m", module, *arguments],
            # As in containers: what makes schema, lanes and tokens.
            env=service_environment(self.layout, self.service_environ, Account.INIT),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def token(self) -> OperatorToken:
        """The token of the recipes themselves."""
        return OperatorToken(self.layout.secrets / "operator-token", self._make_token)

    def _make_token(self) -> str:
        done = self._python(ACCESS, *MAKE)
        if done.returncode != 0:
            raise StackError(f"no token can be made: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def token_command(self, words: Sequence[str]) -> int:
        """Makes, lists or revokes tokens, with its output here; the exit code."""
        # As in containers: what makes schema, lanes and tokens.
        environ = service_environment(self.layout, self.service_environ, Account.INIT)
        return console.start_module(ACCESS, *words, env=environ, cwd=ROOT).wait()

    def _service_parts(self) -> list[str]:
        return [part for part in self._parts() if part not in SERVERS]

    def _service_programs(self) -> list[str]:
        return [program for program in self._programs() if program not in SERVERS]

    def _start_services(self) -> None:
        for program in self._service_programs():
            self._supervisor.start_program(program)

    def _wait_ready(self) -> None:
        programs = self._service_programs()
        for program in programs:
            self._wait_for_ready(program)
        if programs:
            self._wait_listed()

    def _wait_for_ready(self, program: str) -> None:
        self._wait_for(program, lambda: self._readiness(program) in readiness.READY, "")

    def _readiness(self, program: str) -> str:
        pid = self._supervisor.programs().get(program, {}).get("pid", 0)
        return readiness.readiness(self.layout, rolling.part_of(program), pid)

    def _wait_listed(self) -> None:
        """Returns when every gateway lists every worker of this stack."""
        parts = self._service_parts()
        workers = {part for part in parts if part.startswith("worker-")}
        for gateway in (part for part in parts if part.startswith("gateway-")):

            def lists(gateway: str = gateway) -> bool:
                return workers <= readiness.listed_workers(self.layout, gateway, self.pid(gateway), self.token)

            program = rolling.programs_of([gateway], self._supervisor.programs())[0]
            self._wait_for(program, lists, "it does not list all workers")

    def _wait_for(self, program: str, holds: Callable[[], bool], otherwise: str) -> None:
        """Returns when it holds; raises when the part ends again and again, or when the time is over."""
        part = rolling.part_of(program)
        patience = Patience(part, lambda line: print(line, flush=True))
        while not holds():
            info = self._supervisor.programs().get(program, {})
            why = patience.over(info.get("statename", "UNKNOWN"), info.get("pid", 0), lambda: self._readiness(program))
            if why is not None:
                raise self._failed(part, why or otherwise or self._readiness(program))
            time.sleep(0.05)

    def _failed(self, part: str, why: str) -> StackError:
        tail = self.log_tail(part).replace("\n", "\n  ")
        return StackError(f"{part} failed: {why}\n  last lines of {self.layout.logs / (part + '.log')}:\n  {tail}")

    def _down(self) -> None:
        try:
            self._stop_in_order()
        except SupervisorError:
            # It died, or hangs: what it leaves is ended below.
            pass
        self._end_leftovers()
        self.layout.socket.unlink(missing_ok=True)
        self._base_file.unlink(missing_ok=True)
        self.layout.accounts_mark.unlink(missing_ok=True)
        environment.forget(self.layout)

    def _stop_in_order(self) -> None:
        if self.is_up():
            running = [name for name, info in self._supervisor.programs().items() if info["pid"]]
            # Workers first: they give back what they hold while the servers still answer.
            for role in ("worker", "intake", "gateway", "rabbitmq", "mongod", "epmd"):
                self._supervisor.stop_programs([name for name in running if name.split("-", 1)[0] == role])
            self._supervisor.shutdown()
            wait_until(lambda: not self.processes(), 15.0)

    def _end_leftovers(self) -> None:
        """Ends what a supervisor has left behind that died or does not answer."""
        if left := end_stack(self.layout, services_end_within_s=self._worker_stops_within_s):
            lines = "\n  ".join(f"{pid} {line[:100]}" for pid, line in left.items())
            raise StackError(f"these processes do not end; end them by hand:\n  {lines}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.layout.state.mkdir(parents=True, exist_ok=True)
        with (self.layout.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another command works on this stack; waiting for it …", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def remove_data(self, part: str) -> None:
        """Deletes the data of a stopped server, for tests."""
        folder = {"rabbitmq": self.layout.rabbit_home / "data", "mongod": self.layout.mongo_data}[part]
        shutil.rmtree(folder)
