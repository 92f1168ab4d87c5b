"""Start the private servers of a stack, and make their replica set and their accounts."""

from deploy.native import rabbitmqctl, readiness
from deploy.native.failure import part_failed
from deploy.native.launch import TRANSITION, write_definitions
from deploy.native.parts import Parts, wait_for
from deploy.native.plan import Plan
from deploy.native.supervisor import SERVERS


class ServerParts:
    """The private mongod and RabbitMQ of a stack; servers elsewhere are left alone."""

    def __init__(self, plan: Plan, parts: Parts) -> None:
        self._plan = plan
        self._layout = plan.layout
        self._parts = parts

    def start(self) -> None:
        """Start what does not run, and return when all accept connections. Raises `StackError`."""
        parts = [part for part in self._plan.part_names if part in SERVERS]
        for part in parts:
            self._parts.start(part)
        listening = self._layout.ports
        ports = {"epmd": listening.epmd, "rabbitmq": listening.amqp, "mongod": listening.mongod}
        for part in sorted(parts, key=("epmd", "mongod", "rabbitmq").index):
            self._wait_for_port(part, ports[part])
            if part == "mongod":
                self._make_replica_set()
                if TRANSITION in self._mongod_options:
                    # It lets everybody in; the accounts are there now.
                    self._parts.stop(part)
                    self.start()

    def take_over(self) -> None:
        """Make the services' accounts on running servers that a version without accounts has started."""
        if self._layout.accounts_mark.exists():
            return
        if self._layout.own_mongod:
            self._make_replica_set()
        if self._layout.own_rabbitmq:
            done = rabbitmqctl.run(self._layout, "import_definitions", str(write_definitions(self._layout)))
            if done.returncode != 0:
                why = f"its accounts can't be made: {(done.stderr or done.stdout)[-500:]}"
                raise part_failed(self._layout, "rabbitmq", why)

    @property
    def has_open_mongod(self) -> bool:
        """Whether a version without accounts has started the private mongod, which requires no password then."""
        return bool(self._mongod_options) and "--keyFile" not in self._mongod_options

    @property
    def _mongod_options(self) -> list[str]:
        return self._parts.processes().get(self._parts.pids().get("mongod", 0), "").split()

    def _wait_for_port(self, part: str, port: int) -> None:
        wait_for(self._plan, self._parts, part, lambda: readiness.listens(port), f"does not listen on port {port}")

    def _make_replica_set(self) -> None:
        done = self._plan.run_module("deploy.native.replica_set")
        if done.returncode != 0:
            why = f"its replica set or its accounts can't be made: {done.stderr.strip()[-500:]}"
            raise part_failed(self._layout, "mongod", why)
