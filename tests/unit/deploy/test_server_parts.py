"""When the servers of a stack need no start."""

import pytest

from deploy.native.server_parts import serve

WANTED = ("epmd", "rabbitmq", "mongod", "intake-1", "gateway-1", "worker-1")
RUNNING = dict.fromkeys(WANTED, 7)


@pytest.mark.parametrize("missing", ["none", "worker-1", "gateway-1"])
def test_servers_that_run_beside_services_serve(missing: str) -> None:
    assert serve(WANTED, {**RUNNING, missing: 0})


@pytest.mark.parametrize("missing", ["epmd", "rabbitmq", "mongod"])
def test_a_server_that_is_missing_has_to_start(missing: str) -> None:
    assert not serve(WANTED, {**RUNNING, missing: 0})
    assert not serve(WANTED, {part: pid for part, pid in RUNNING.items() if part != missing})


def test_servers_without_any_service_may_lack_their_accounts() -> None:
    assert not serve(WANTED, {"epmd": 1, "rabbitmq": 2, "mongod": 3, "worker-1": 0})


def test_servers_elsewhere_are_not_waited_for() -> None:
    assert serve(("intake-1", "gateway-1", "worker-1"), {"intake-1": 1})
