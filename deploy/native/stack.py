"""One native stack: up, down, scale, and what the tests do to it."""

import fcntl
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deploy.native import preflight
from deploy.native.launch import service_environment
from deploy.native.layout import MAX_PORT_BASE, ROOT, SERVER_PORT_OFFSET, Layout
from deploy.native.packages import PackagesError, Servers
from deploy.native.supervisor import (
    SERVERS,
    SERVICES,
    Supervisor,
    end_processes,
    part_names,
    stack_processes,
)

PART_WITHIN_S = 60.0
# A part that ends at its start is tried again for so long: what it needs may be a moment late.
GIVES_UP_AFTER_S = 8.0
LOG_LINES = 15
# Linux gives ports from 32,768 on to outgoing connections, unless it is told otherwise.
MAX_SAFE_PORT_BASE = 32_768 - SERVER_PORT_OFFSET - 10


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
        self._supervisor = Supervisor(layout)

    @property
    def urls(self) -> dict[str, str]:
        """Where the parts are reached."""
        ports = self.layout.ports
        found = {"gateway": f"http://localhost:{ports.gateway}", "intake": f"http://localhost:{ports.intake}"}
        environment = service_environment(self.layout, self._environ)
        return {**found, "mongo": environment["ACKED_MONGO_URL"], "amqp": environment["ACKED_AMQP_URL"]}

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

    def up(self) -> None:
        """Starts what does not run, and returns when all is ready. Raises `StackError`."""
        with self._locked():
            was_up = self.is_up()
            try:
                if not was_up:
                    self._start_supervisor()
                self._start_servers()
                if self._services:
                    self._initialize()
                    self._start_services()
                    self._wait_ready()
            except BaseException:
                if not was_up:
                    self._down()
                raise

    def down(self) -> None:
        """Stops everything; data is kept. Raises `StackError` when a process of the stack is left."""
        with self._locked():
            self._down()

    def scale(self, wanted: Mapping[str, int]) -> None:
        """Changes how many processes of each service run, and returns when all are ready."""
        with self._locked():
            (self.layout.state / "scale.json").write_text(json.dumps({**self.scale_now, **wanted}))
            if not self.is_up():
                return
            self._supervisor.write_configuration(self._parts())
            self._supervisor.reload()
            # A part whose configuration changed with a new version was stopped by the reload.
            self._start_servers()
            self._start_services()
            self._wait_ready()

    def parts(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of each part; empty when it does not run."""
        return self._supervisor.parts() if self.is_up() else {}

    def pid(self, part: str) -> int:
        """The process id of a running part."""
        return int(self.parts()[part]["pid"])

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
        """Where a part answers `/readyz`; None while a worker has not told."""
        role = part.split("-", 1)[0]
        if role == "gateway":
            return self.layout.ports.gateway
        if role == "intake":
            return self.layout.ports.intake
        try:
            told = json.loads((self.layout.run / f"{part}.json").read_text())
        except (OSError, ValueError):
            return None
        # What an earlier process has told is out of date.
        return int(told["health_port"]) if told["pid"] == self.parts().get(part, {}).get("pid") else None

    def readiness(self, part: str) -> str:
        """`ready`, `degraded`, or what is wrong."""
        port = self.health_port(part)
        if port is None:
            return "not started yet"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"does not answer ({type(error).__name__})"
        finally:
            connection.close()
        if answer.status == 200:
            return str(body["status"])
        return "not ready: " + "; ".join(f"{name}: {text}" for name, text in body["parts"].items() if text != "ok")

    def log_tail(self, part: str, lines: int = LOG_LINES) -> str:
        """The last lines of a part's log."""
        try:
            text = (self.layout.logs / f"{part}.log").read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def processes(self) -> dict[int, str]:
        """All processes of this stack, the supervisor included."""
        return stack_processes(self.layout)

    def _parts(self) -> list[str]:
        return part_names(self.layout, self.scale_now, services=self._services)

    def _start_supervisor(self) -> None:
        self._end_leftovers()
        if found := preflight.problems(self.layout):
            raise StackError("can't start:\n  " + "\n  ".join(found))
        try:
            Servers(self.layout.servers).ensure(mongod=self.layout.own_mongod, rabbitmq=self.layout.own_rabbitmq)
        except PackagesError as error:
            raise StackError(str(error)) from None
        self._supervisor.write_configuration(self._parts())
        try:
            self._supervisor.start(self._environ)
        except OSError as error:
            raise StackError(str(error)) from None
        _wait(self.is_up, 15.0, lambda: self._failed("supervisor", "does not answer"))

    def _start_servers(self) -> None:
        parts = [part for part in self._parts() if part in SERVERS]
        for part in parts:
            self._supervisor.start_part(part)
        ports = {"epmd": self.layout.ports.epmd, "rabbitmq": self.layout.ports.amqp, "mongod": self.layout.ports.mongod}
        for part in sorted(parts, key=("epmd", "mongod", "rabbitmq").index):
            self._wait_for(part, lambda port=ports[part]: _answers(port), f"does not listen on port {ports[part]}")  # type: ignore[misc]
            if part == "mongod":
                self._make_replica_set()

    def _make_replica_set(self) -> None:
        port = self.layout.ports.mongod
        done = self._python("deploy.native.replica_set", str(port))
        if done.returncode != 0:
            raise self._failed("mongod", f"its replica set can't be made: {done.stderr.strip()[-500:]}")

    def _initialize(self) -> None:
        done = self._python("acked_worker.init")
        if done.returncode != 0:
            lines = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-LOG_LINES:])
            raise StackError(f"init failed:\n  {lines}")

    def _python(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.layout.venv_python), "-m", module, *arguments],
            env=service_environment(self.layout, self._environ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def _service_parts(self) -> list[str]:
        return [part for part in self._parts() if part not in SERVERS]

    def _start_services(self) -> None:
        for part in self._service_parts():
            self._supervisor.start_part(part)

    def _wait_ready(self) -> None:
        for part in self._service_parts():
            self._wait_for(part, lambda part=part: self.readiness(part) in ("ready", "degraded"), "")  # type: ignore[misc]

    def _wait_for(self, part: str, holds: Callable[[], bool], otherwise: str) -> None:
        """Returns when it holds; raises when the part ends again and again, or when the time is over."""
        end = time.monotonic() + PART_WITHIN_S
        ended_first_at: float | None = None
        while not holds():
            now = time.monotonic()
            if self.parts()[part]["statename"] in ("BACKOFF", "FATAL"):
                ended_first_at = ended_first_at or now
            elif self.parts()[part]["statename"] == "RUNNING":
                ended_first_at = None
            if ended_first_at is not None and now - ended_first_at > GIVES_UP_AFTER_S:
                raise self._failed(part, "it ends as soon as it is started")
            if now > end:
                raise self._failed(part, otherwise or self.readiness(part))
            time.sleep(0.05)

    def _failed(self, part: str, why: str) -> StackError:
        tail = self.log_tail(part).replace("\n", "\n  ")
        return StackError(f"{part} failed: {why}\n  last lines of {self.layout.logs / (part + '.log')}:\n  {tail}")

    def _down(self) -> None:
        if self.is_up():
            running = [name for name, info in self.parts().items() if info["pid"]]
            # Workers first: they give back what they hold while the servers still answer.
            for role in ("worker", "intake", "gateway", "rabbitmq", "mongod", "epmd"):
                _in_parallel(self._supervisor.stop_part, [p for p in running if p.split("-", 1)[0] == role])
            self._supervisor.shutdown()
            _wait(lambda: not self.processes(), 15.0, None)
        self._end_leftovers()
        self.layout.socket.unlink(missing_ok=True)

    def _end_leftovers(self) -> None:
        """Ends what a supervisor that died has left behind."""
        for number, within_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            left = self.processes()
            if not left:
                return
            end_processes(left, number)
            _wait(lambda: not self.processes(), within_s, None)
        if left := self.processes():
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


def _in_parallel(do: Callable[[str], None], parts: list[str]) -> None:
    threads = [threading.Thread(target=do, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _wait(holds: Callable[[], bool], within_s: float, failure: Callable[[], Exception] | None) -> None:
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            if failure is not None:
                raise failure()
            return
        time.sleep(0.05)


def free_port_base(near: int | None = None) -> int:
    """A base whose ports are all free now, for tests: the first one from `near`, else one in a safe range.

    Ports of servers that are in the kernel's range for outgoing connections are taken by those now and then.
    """
    safe = range(8_200, MAX_SAFE_PORT_BASE, 10)
    for base in random.sample(safe, len(safe)) if near is None else range(near, MAX_PORT_BASE, 10):
        ports = [base, base + 1, *(base + SERVER_PORT_OFFSET + n for n in range(2, 6))]
        if all(map(preflight.is_free, ports)):
            return base
    raise StackError("no free ports")
