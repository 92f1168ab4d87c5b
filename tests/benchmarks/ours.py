"""Our stack for a run: natively, on ports and in a folder of its own, with tokens, tenants, quotas and rates."""

import http.client
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from acked_common.broker.rabbitmq.topology import lane_queue
from acked_common.store.mongo.schema import JOBS, LEDGER_PARTS, LEDGERS
from benchmarks.broker_queues import purge
from benchmarks.systems import WORKERS, wait_answers
from deploy.native.layout import ROOT, Layout, Ports
from deploy.native.ports import free_port_base
from deploy.native.stack import Stack

DATABASE = "acked"
TENANT, OTHER_TENANT = "bench", "bench-other"
LANES = ("noop", "start", "slow", "demo", "steps", "chain", "sleeper", "signalled")
"""Those of the kinds that figures use."""
SETTINGS = {
    "ACKED_ACCESS": "tokens",
    # Limits are counted as ever, and reached by nobody here.
    "ACKED_RATE_PER_S": "1000000",
    "ACKED_RATE_BURST": "1000000",
    "ACKED_MAX_WAITING_JOBS": "50000000",
    "ACKED_MAX_WAITING_JOBS_OF_TENANT": "50000000",
    "ACKED_FEEDS_PER_CLIENT": "20000",
}
_ANSWERS_WITHIN_S = 30.0
_RECORDED = re.compile(r"^acked_attempts_recorded_total{[^}]*} (\S+)$", re.MULTILINE)


class OursError(Exception):
    """Our stack does not do what it should; the message says what."""


class Ours:
    """The shipped programs, as `./just up` starts them; a context manager."""

    name = "Acked"
    does_not = (
        "one intake process; each job is in the journal of a majority before its 202, published with a confirm, "
        "claimed, finished and reported durably"
    )

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        """`environ` is told to all parts beside the settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
        layout = Layout((folder / "stack").resolve(), Ports(free_port_base()))
        handlers = str(Path(__file__).with_name("handlers"))
        self.stack = Stack(layout, {**inherited, **SETTINGS, "ACKED_HANDLERS_DIR": handlers, **environ})
        self._token = self._other_token = ""
        self._is_awake = True
        self._mongo: MongoClient[dict[str, Any]] | None = None

    def __enter__(self) -> "Ours":
        # What an earlier run has left, if it was killed.
        self.stack.down()
        shutil.rmtree(self.stack.layout.state)
        try:
            self.stack.up()
            self._token = self._make_token(TENANT)
            self._other_token = self._make_token(OTHER_TENANT)
            self.stack.scale({"worker": 0})
        except BaseException:
            self.stack.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._mongo is not None:
            self._mongo.close()
        self.stack.down()
        shutil.rmtree(self.stack.layout.state, ignore_errors=True)

    @property
    def port(self) -> int:
        """Of intake."""
        return self.stack.layout.ports.intake

    @property
    def gateway_port(self) -> int:
        """Of the gateway."""
        return self.stack.layout.ports.gateway

    @property
    def headers(self) -> dict[str, str]:
        """The token of a client of a tenant of its own, which may do everything that a client can."""
        return {"Authorization": f"Bearer {self._token}"}

    @property
    def other_headers(self) -> dict[str, str]:
        """The token of a client of another tenant."""
        return {"Authorization": f"Bearer {self._other_token}"}

    @property
    def token(self) -> str:
        """The token alone."""
        return self._token

    @property
    def mongo(self) -> MongoClient[dict[str, Any]]:
        """A plain client of its MongoDB."""
        if self._mongo is None:
            self._mongo = MongoClient(self.stack.urls["mongo"], tz_aware=True, uuidRepresentation="standard")
        return self._mongo

    @property
    def jobs(self) -> Any:
        """The collection of jobs."""
        return self.mongo[DATABASE][JOBS]

    def wake(self) -> None:
        """Intake and gateway, no worker."""
        if not self._is_awake:
            self._is_awake = True
            self.stack.up()
        wait_answers(self.port, self.headers, within_s=_ANSWERS_WITHIN_S)

    def start_workers(self, number: int = WORKERS) -> None:
        """Returns when all are ready."""
        self.stack.scale({"worker": number})

    def stop_workers(self) -> None:
        """They give back what they hold."""
        if self.stack.scale_now["worker"]:
            self.stack.scale({"worker": 0})

    def handled(self) -> int:
        """Attempts whose outcome was recorded, by the count of the workers that run now."""
        parts = [part for part in self.stack.parts.pids() if part.startswith("worker-")]
        return sum(int(float(found)) for part in parts for found in _RECORDED.findall(self._metrics(part)))

    def empty(self) -> None:
        """Stops the workers; deletes the jobs one by one, since the services watch them."""
        self.stop_workers()
        self.jobs.delete_many({})
        self._drop_ledgers()
        self._purge()

    def rest(self) -> None:
        """Stops intake, gateway and workers; throws the jobs away."""
        self.stop_workers()
        self._is_awake = False
        for part in self.service_pids():
            self.stack.parts.stop(part)
        self.jobs.drop()
        self._drop_ledgers()
        self._purge()

    def service_pids(self) -> dict[str, int]:
        """The processes of our services that run."""
        return {part: pid for part, pid in self.pids().items() if part.split("-")[0] in ("intake", "gateway", "worker")}

    def pids(self) -> dict[str, int]:
        """All processes that run, servers too."""
        return {part: pid for part, pid in self.stack.parts.pids().items() if pid}

    def call(self, method: str, path: str, *, port: int | None = None, timeout_s: float = 120.0) -> tuple[int, Any]:
        """One call of the gateway, or of another port; status and JSON body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.gateway_port, timeout=timeout_s)
        try:
            connection.request(method, path, headers={"Accept": "application/json", **self.headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _drop_ledgers(self) -> None:
        for name in (LEDGERS, LEDGER_PARTS):
            self.mongo[DATABASE][name].delete_many({})

    def _purge(self) -> None:
        purge(self.stack.urls["amqp"], *map(lane_queue, LANES))

    def _metrics(self, part: str) -> str:
        port = self.stack.parts.health_port(part)
        if port is None:
            raise OursError(f"{part} tells no port")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/metrics", headers=self.headers)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def _make_token(self, tenant: str) -> str:
        layout = self.stack.layout
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
        done = subprocess.run(
            [
                *(str(layout.venv_python), "-m", "deploy.native", "token", "make", "--client", tenant),
                *("--tenant", tenant, "--may", "submit,read,operate,signal"),
            ],
            env={**inherited, "ACKED_STATE_DIR": str(layout.state), "ACKED_PORT_BASE": str(layout.ports.base)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OursError(f"creating a token failed: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()
