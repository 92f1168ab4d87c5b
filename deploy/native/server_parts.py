"""Start the private servers of a stack, and make their replica set and their accounts."""

from collections.abc import Iterable, Mapping

from deploy.native import rabbitmqctl, readiness
from deploy.native.failure import part_failed
from deploy.native.launch import TRANSITION, write_definitions
from deploy.native.parts import Parts, wait_for
from deploy.native.plan import Plan
from deploy.native.supervisor import SERVERS, SERVICES


def serve(wanted: Iterable[str], pids: Mapping[str, int]) -> bool:
    """Return whether all wanted servers run, with their replica set and accounts: no service starts before those."""
    running = {part.split("-", 1)[0] for part, pid in pids.items() if pid}
    return running >= {part for part in wanted if part in SERVERS} and not running.isdisjoint(SERVICES)


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

    def start_stopped(self) -> None:
        """Start the servers unless all of them run and serve services already. Raises `StackError`."""
        if not serve(self._plan.part_names, self._parts.pids()):
            self.start()

    def take_over(self) -> None:
        """Give the services' accounts on running servers what this version grants, or make the accounts where a version
        without them has started the servers."""
        has_accounts = self._layout.accounts_mark.exists()
        # A new collection needs new grants, and MongoDB is not restarted with the services. One that is down gets them
        # at its start.
        if self._layout.own_mongod and (not has_accounts or self._mongod_options):
            self._make_replica_set()
        if self._layout.own_rabbitmq and not has_accounts:
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
        # A command that starts no mongod does not wait for its driver.
        from acked_common.accounts.mongo_accounts import AccountsError
        from deploy.native.replica_set import make_replica_set

        try:
            make_replica_set(self._layout, self._plan.service_environ)
        except AccountsError as error:
            why = f"creating its replica set or its accounts failed: {error}"
            raise part_failed(self._layout, "mongod", why) from None
