"""Whole stacks of the shipped entry points for acceptance and fault tests, each on its own ports and in its own
folder."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deploy.native.layout import Layout, Ports
from deploy.native.processes import end_processes
from deploy.native.stack import Stack, free_port_base

QUICK = {
    "ACKED_LEASE_S": "3",
    "ACKED_RENEWAL_S": "0.8",
    "ACKED_SWEEP_TICK_S": "0.4",
    "ACKED_GRACE_S": "2",
    "ACKED_REPUBLISH_AFTER_S": "3",
}
"""Short durations, so that lease expiry takes seconds."""
PATIENT = {"ACKED_ANSWER_WITHIN_S": "10"}
"""Whether a busy machine's disk confirms an insert within two seconds is not what these tests judge."""


CENSUS_WITHIN_S = 90.0
"""Failed jobs are in groups after the next census, which pauses for up to 40 s where a count takes long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; `body` is decoded if it is JSON."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class TestStack:
    """A running stack, and requests to it."""

    __test__ = False

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.gateway_port = stack.layout.ports.gateway
        self.intake_port = stack.layout.ports.intake

    def port(self, to: str) -> int:
        """Return the port of a service, or of one process such as `gateway-2`."""
        shared = {"gateway": self.gateway_port, "intake": self.intake_port}
        found = shared.get(to) or self.stack.parts.health_port(to)
        assert found, f"{to} tells no port"
        return found

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        to: str = "gateway",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 90.0,
    ) -> Answer:
        """Send a request to a service, or to one process such as `gateway-2`; a body that is not bytes is sent as
        JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(to), timeout=timeout_s)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def process(self, kind: str = "demo", **fields: Any) -> str:
        """Submit a request, which must be accepted, and return its id."""
        answer = self.call("POST", "/process", {"kind": kind, **fields}, to="intake")
        assert answer.status == 202, answer.raw
        return str(answer.body["id"])

    def status(self, job_id: str, query: str = "", *, to: str = "gateway") -> Any:
        """Return the status of an existing job."""
        answer = self.call("GET", f"/status/{job_id}{query}", to=to)
        assert answer.status == 200, answer.raw
        return answer.body

    def finished(self, job_id: str, wait_s: float = 30.0) -> Any:
        """Wait until a job is terminal and return its status."""
        found = self.status(job_id, f"?wait_s={wait_s}")
        assert found["finished_at"] is not None, found
        return found

    def batch(self, name: str) -> dict[str, int]:
        """Return the counts of a batch by state; empty for none."""
        answer = self.call("GET", f"/batches/{name}")
        return dict(answer.body["states"]) if answer.status == 200 else {}

    def metric(self, name: str, labels: str = "", *, to: str = "gateway") -> float:
        """Return a value of `/metrics`; 0 if it does not exist yet."""
        wanted = name + labels
        for line in self.call("GET", "/metrics", to=to).raw.decode().splitlines():
            if line.startswith(wanted + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


class StartStack(Protocol):
    """Start a stack that ends with the module; its parts are told `environ`."""

    def __call__(self, environ: Mapping[str, str], scale: Mapping[str, int] | None = None) -> TestStack: ...


def eventually(holds: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Return the first true value; fail if there is none in time."""
    end = time.monotonic() + within_s
    last: Any = None
    while True:
        try:
            last = holds()
            if last:
                return last
        except OSError as error:
            last = error
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}; last: {last!r}"
        time.sleep(0.05)


def refuses(port: int) -> bool:
    """Whether no process listens on the port."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def gone(stack: Stack) -> None:
    """Fail if a process of the stack is left, or one of its ports is in use."""
    assert stack.parts.processes() == {}
    assert not stack.is_up()
    ports = stack.layout.ports
    for port in (ports.gateway, ports.intake, ports.mongod, ports.amqp, ports.epmd, ports.erlang):
        assert refuses(port), port
    assert not stack.layout.socket.exists()


@contextmanager
def never_orphaned(layout: Layout) -> Iterator[None]:
    """Stop the supervisor of a stack and all its children, even if this process is killed meanwhile."""
    pid_file = str(layout.run / "supervisor.pid")
    # The guard reads to the end of a pipe that only this process holds, in a session that no Ctrl-C reaches.
    script = 'cat > /dev/null; [ ! -e "$1" ] || kill "$(cat "$1")"'
    guard = subprocess.Popen(
        ["sh", "-c", script, "guard", pid_file], stdin=subprocess.PIPE, cwd="/", start_new_session=True
    )
    try:
        yield
    finally:
        guard.communicate()


@contextmanager
def running_stack(
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    scale: Mapping[str, int] | None = None,
    port_base: int | None = None,
) -> Iterator[TestStack]:
    """Run a stack that is ready; remove it afterwards. Its servers are its own, unless `environ` names others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    told = {**inherited, **QUICK, **PATIENT, **(environ or {})}
    layout = Layout(
        folder.resolve(),
        Ports(port_base or free_port_base()),
        own_mongod="ACKED_MONGO_URL" not in told,
        own_rabbitmq="ACKED_AMQP_URL" not in told,
    )
    stack = Stack(layout, told)
    if scale:
        stack.scale(scale)
    with never_orphaned(layout):
        try:
            stack.up()
            yield TestStack(stack)
        finally:
            # Its data is not read again, so an unclean stop is fine.
            end_processes(stack.parts.processes(), signal.SIGKILL)
            stack.down()
            # Several hundred megabytes; the logs remain for failed tests.
            shutil.rmtree(layout.state / "data", ignore_errors=True)
