"""Signals that people, terminals and log rotation send to each process of a native stack leave the stack whole."""

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from acked_common.runtime.lifetime import IDLE_SIGNALS, STOP_SIGNALS
from deploy.native.supervisor import SERVICES
from support.stacks import TestStack, eventually, gone, running_stack

PARTS = ["epmd", "rabbitmq", "mongod", "intake-1", "gateway-1", "worker-1"]
HARMLESS = [*IDLE_SIGNALS, signal.SIGWINCH, signal.SIGPIPE]
WHOLE_WITHIN_S = 150.0
# MongoDB and RabbitMQ themselves say what these mean to them.
ENDS = {("mongod", signal.SIGHUP)}
ENDS_NOT = {("rabbitmq", signal.SIGINT), ("rabbitmq", signal.SIGQUIT)}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("signals")) as started:
        yield started


def is_whole(stack: TestStack) -> bool:
    """Whether every part runs, every server listens, and every service is ready."""
    ports = stack.stack.layout.ports
    for port in (ports.epmd, ports.amqp, ports.mongod):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    parts = stack.stack.parts.known()
    services = [part for part in parts if part.split("-")[0] in SERVICES]
    return all(info["statename"] == "RUNNING" for info in parts.values()) and all(
        stack.stack.parts.readiness(part) == "ready" for part in services
    )


def wait_whole(stack: TestStack) -> None:
    eventually(lambda: is_whole(stack), within_s=WHOLE_WITHIN_S, what="the stack is whole")

    def accepted() -> Any:
        # MongoDB may just be electing.
        answer = stack.call("POST", "/process", {"kind": "noop"}, to="intake")
        return answer.status == 202 and answer.body["id"]

    job = eventually(accepted, within_s=WHOLE_WITHIN_S, what="a request is accepted")
    assert stack.finished(job)["state"] == State.SUCCEEDED


def wait_replaced(stack: TestStack, part: str, old: int) -> None:
    eventually(lambda: stack.stack.parts.pid(part) not in (0, old), within_s=WHOLE_WITHIN_S, what=f"a new {part} runs")
    wait_whole(stack)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_outlives_signals_of_log_rotation(stack: TestStack, part: str) -> None:
    wait_whole(stack)
    for number in HARMLESS:
        before = stack.stack.parts.pids()
        os.kill(before[part], number)
        if (part, number) in ENDS:
            wait_replaced(stack, part, before[part])
            continue
        wait_whole(stack)
        assert stack.stack.parts.pids() == before, number.name


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_asked_to_stop_is_replaced(stack: TestStack, part: str) -> None:
    for number in STOP_SIGNALS:
        wait_whole(stack)
        before = stack.stack.parts.pids()
        os.kill(before[part], number)
        if (part, number) in ENDS_NOT:
            wait_whole(stack)
            assert stack.stack.parts.pids() == before, number.name
        else:
            wait_replaced(stack, part, before[part])


@pytest.mark.parametrize("part", [*PARTS, "supervisor"])
def test_a_part_that_was_suspended_goes_on(stack: TestStack, part: str) -> None:
    wait_whole(stack)
    before = stack.stack.parts.pids()
    pid = supervisor_pid(stack) if part == "supervisor" else before[part]
    os.kill(pid, signal.SIGTSTP)
    os.kill(pid, signal.SIGCONT)
    wait_whole(stack)
    assert stack.stack.parts.pids() == before


def supervisor_pid(stack: TestStack) -> int:
    return int((stack.stack.layout.run / "supervisor.pid").read_text())


@pytest.mark.parametrize("number", HARMLESS, ids=lambda number: number.name)
def test_the_supervisor_outlives_signals_of_log_rotation(stack: TestStack, number: signal.Signals) -> None:
    wait_whole(stack)
    before, supervisor = stack.stack.parts.pids(), supervisor_pid(stack)
    os.kill(supervisor, number)
    wait_whole(stack)
    assert stack.stack.parts.pids() == before
    assert supervisor_pid(stack) == supervisor


@pytest.mark.parametrize("number", IDLE_SIGNALS, ids=lambda number: number.name)
def test_logs_that_were_moved_away_are_opened_anew(stack: TestStack, number: signal.Signals) -> None:
    wait_whole(stack)
    logs = stack.stack.layout.logs
    log = logs / "gateway-1.log"
    log.rename(logs / f"gateway-1.log.{number.name}")
    os.kill(supervisor_pid(stack), number)
    eventually(log.exists, within_s=10, what="the supervisor has opened a new log")
    # It writes a line for a signal that it outlives.
    os.kill(stack.stack.parts.pid("gateway-1"), signal.SIGUSR1)
    eventually(lambda: "SIGUSR1" in log.read_text(), within_s=10, what="the new log is written to")


def test_a_running_job_outlives_signals_to_its_worker(stack: TestStack) -> None:
    wait_whole(stack)
    job = stack.process("demo", payload={"seconds": 2})
    assert stack.status(job, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    for number in HARMLESS:
        os.kill(stack.stack.parts.pid("worker-1"), number)
    found = stack.finished(job)
    assert (found["state"], found["attempt"], found["failures"]) == (State.SUCCEEDED, 1, 0)


def test_an_isolated_job_outlives_signals_to_its_processes(stack: TestStack) -> None:
    wait_whole(stack)
    job = stack.process("demo", payload={"seconds": 4})
    assert stack.status(job, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    stack.stack.parts.kill("worker-1")

    def isolated() -> list[int]:
        found = {pid: line.split(" ")[0] for pid, line in stack.stack.parts.processes().items()}
        titles = ("acked-suspect", "acked-suspects")
        return [pid for pid, line in found.items() if line in titles] if set(titles) <= set(found.values()) else []

    pids = eventually(isolated, within_s=30, what="the job runs in a process of its own")
    for pid in pids:
        for number in (*HARMLESS, *STOP_SIGNALS):
            os.kill(pid, number)
        os.kill(pid, signal.SIGTSTP)
        os.kill(pid, signal.SIGCONT)
    found = stack.finished(job)
    assert (found["state"], found["attempt"], found["failures"]) == (State.SUCCEEDED, 2, 0)


@pytest.mark.parametrize(
    "number",
    # A whole stack starts for each of them.
    [pytest.param(number, marks=() if number is signal.SIGTERM else pytest.mark.long) for number in STOP_SIGNALS],
    ids=lambda number: number.name,
)
def test_a_supervisor_that_is_asked_to_stop_stops_all_in_order(stack: TestStack, number: signal.Signals) -> None:
    stack.stack.scale({"worker": 3})
    wait_whole(stack)
    held = [stack.process("demo", payload={"seconds": 1.5}) for _ in range(12)]
    for job in held:
        assert stack.status(job, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    os.kill(supervisor_pid(stack), number)
    eventually(lambda: not stack.stack.parts.processes(), within_s=WHOLE_WITHIN_S, what="every process has ended")
    gone(stack.stack)
    stack.stack.up()
    wait_whole(stack)
    for job in held:
        found = stack.finished(job)
        assert (found["state"], found["attempt"]) == (State.SUCCEEDED, 1), "workers drain while the servers are there"
