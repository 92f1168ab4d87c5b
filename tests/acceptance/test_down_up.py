"""Starting, stopping and scaling a stack: jobs stay, processes don't."""

from pathlib import Path
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native.layout import Layout, Ports
from deploy.native.stack import Stack, StackError, free_port_base
from support.contract import workers
from support.stacks import TestStack, eventually, gone

SERVICES = {"intake-1", "gateway-1", "worker-1"}
SERVERS = {"epmd", "rabbitmq", "mongod"}


def pids(stack: TestStack) -> dict[str, int]:
    return {name: info["pid"] for name, info in stack.stack.parts.known().items()}


def test_up_changes_nothing_where_all_runs(stack: TestStack) -> None:
    stack.stack.scale({"worker": 2})
    before = pids(stack)
    assert before.keys() == SERVERS | SERVICES | {"worker-2"}
    assert all(before.values())

    stack.stack.up()

    assert pids(stack) == before, "same parts, same processes, as many workers"


def test_down_then_up_keeps_every_job(stack: TestStack) -> None:
    stack.stack.scale({"worker": 2})
    batch = f"kept-{uuid4().hex}"
    done = [stack.process("noop", batch=batch, payload={"n": n}) for n in range(20)]
    failed = [stack.process("test.permanent", batch=batch) for _ in range(3)]
    scheduled = [stack.process("noop", batch=batch, delay_s=600) for _ in range(3)]
    settled = {job_id: stack.finished(job_id) for job_id in [*done, *failed]}
    settled |= {job_id: stack.status(job_id) for job_id in scheduled}
    running = [stack.process("demo", payload={"seconds": 4}, batch=batch, max_attempts=1) for _ in range(4)]
    for job_id in running:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    assert any("epmd" in line for line in stack.stack.parts.processes().values())

    stack.stack.down()

    gone(stack.stack)
    stack.stack.up()
    assert {name for name in pids(stack) if name.startswith("worker")} == {"worker-1", "worker-2"}
    for job_id, before in settled.items():
        assert stack.status(job_id) == before
    assert stack.call("GET", f"/jobs/{done[7]}").body["payload"] == {"n": 7}
    for job_id in running:
        status = stack.finished(job_id)
        assert (status["state"], status["attempt"], status["failures"]) == (State.SUCCEEDED, 2, 0)
        assert [entry["reason"] for entry in status["history"]].count(Reason.DRAINED) == 1
    assert stack.batch(batch) == {State.SUCCEEDED: 24, State.FAILED: 3, State.SCHEDULED: 3}


@pytest.mark.long
def test_what_waits_for_a_worker_waits_through_a_down(stack: TestStack) -> None:
    batch = f"waits-{uuid4().hex}"
    stack.stack.scale({"worker": 0})
    for _ in range(50):
        stack.process("noop", batch=batch)
    stack.stack.down()
    stack.stack.down()
    gone(stack.stack)
    # Asked for while all is down, it holds from the next up on.
    stack.stack.scale({"worker": 1})
    assert stack.stack.parts.processes() == {}
    stack.stack.up()
    eventually(lambda: stack.batch(batch) == {State.SUCCEEDED: 50}, within_s=20, what="all are done")


def test_scale_starts_and_stops_what_it_must(stack: TestStack) -> None:
    stack.stack.scale({"worker": 1})
    before = pids(stack)

    stack.stack.scale({"worker": 3})

    grown = pids(stack)
    assert grown.keys() == before.keys() | {"worker-2", "worker-3"}
    assert {name: grown[name] for name in before} == before, "what ran goes on"
    listed = {f"worker-{number}" for number in (1, 2, 3)}
    eventually(lambda: workers(stack).keys() == listed, within_s=10, what="three workers are listed")
    stack.stack.scale({"worker": 1})
    assert pids(stack) == before
    eventually(lambda: workers(stack).keys() == {"worker-1"}, within_s=10, what="one is left")


def test_several_intakes_and_gateways_serve_one_port(stack: TestStack) -> None:
    stack.stack.scale({"intake": 2, "gateway": 2})
    try:
        assert {"intake-2", "gateway-2"} <= pids(stack).keys()
        # Which process answers is the kernel's choice for each connection.
        for _ in range(20):
            assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
        figures = stack.call("GET", "/load-test?count=200&kind=noop")
        assert figures.body["persisted"] == 200
    finally:
        stack.stack.scale({"intake": 1, "gateway": 1})
    assert pids(stack).keys() == SERVERS | SERVICES


def test_what_dies_is_brought_back(stack: TestStack) -> None:
    killed = stack.stack.parts.kill("worker-1")
    eventually(lambda: stack.stack.parts.pid("worker-1") not in (0, killed), within_s=20, what="a new worker runs")
    eventually(lambda: stack.stack.parts.readiness("worker-1") == "ready", within_s=20, what="it is ready")
    assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED


def test_up_says_which_port_is_taken(stack: TestStack, tmp_path: Path) -> None:
    second = Stack(Layout(tmp_path.resolve(), Ports(stack.gateway_port)), {"PATH": "/usr/bin:/bin"})
    with pytest.raises(StackError) as failure:
        second.up()
    assert f"port {stack.gateway_port} for the gateway is taken by acked-gateway" in str(failure.value)
    assert "ACKED_PORT_BASE" in str(failure.value)
    assert second.parts.processes() == {}
    assert stack.call("GET", "/readyz").status == 200, "the stack that runs is left alone"


@pytest.mark.long
def test_up_says_which_part_failed_and_leaves_nothing(tmp_path: Path) -> None:
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    (handlers / "shop.py").write_text("import no_such_module_at_all\n")
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "ACKED_HANDLERS_DIR": str(handlers)}
    broken = Stack(Layout((tmp_path / "state").resolve(), Ports(free_port_base())), environ)
    with pytest.raises(StackError) as failure:
        broken.up()
    assert "init failed" in str(failure.value)
    assert "shop.py:1" in str(failure.value)
    assert "no_such_module_at_all" in str(failure.value)
    assert broken.parts.processes() == {}
