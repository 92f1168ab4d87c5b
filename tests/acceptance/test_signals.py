"""Signals end to end: before, during and after the wait, in order, taken once, whatever dies."""

import itertools
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native import environment
from support.contract import assert_problem
from support.stacks import Answer, TestStack, eventually

ENVIRON: dict[str, str] = {}
"""A stack of its own: gateways are killed."""

KIND = "test.signalled"


def send(stack: TestStack, job_id: str, value: Any = 1, key: str | None = None, name: str = "go") -> Answer:
    headers: Mapping[str, str] = {} if key is None else {"Idempotency-Key": key}
    return stack.call("POST", f"/jobs/{job_id}/signals/{name}", value, headers=headers)


def parked(stack: TestStack, job_id: str, within_s: float = 20) -> Any:
    """The status of a job, once it waits."""

    def look() -> Any:
        status = stack.status(job_id)
        return status if status["state"] == State.WAITING else None

    return eventually(look, within_s=within_s, what="it waits")


def stays_queued(stack: TestStack) -> bool:
    """Whether no worker takes a new job of the kind."""
    job_id = stack.process(KIND, payload={"count": 0})
    return bool(stack.status(job_id, "?wait_s=1.5")["state"] == State.QUEUED)


def reasons(status: Any) -> list[str]:
    return [line["reason"] for line in status["history"]]


def test_a_signal_wakes_the_job_that_waits_for_it(stack: TestStack) -> None:
    job_id = stack.process(KIND, payload={"count": 1})
    status = parked(stack, job_id)
    assert status["waits"] == {"call": "wait", "name": "go", "until_at": None, "signals": ["go"]}
    assert send(stack, job_id, 7, key="near", name="gone").status == 202
    hint = stack.status(job_id)["hint"]
    assert hint.startswith("waits for signal 'go' since ") and hint.endswith("unread: 'gone'")
    listed = stack.call("GET", "/jobs?waiting_for=signal:go").body["jobs"]
    assert job_id in [job["id"] for job in listed]
    for other in ("signal:gone", "sleep"):
        assert stack.call("GET", f"/jobs?waiting_for={other}").body["jobs"] == []

    answer = send(stack, job_id, {"amount": 100}, key="k1")

    assert answer.status == 202 and answer.body == {"id": "k1", "job": job_id, "name": "go", "seq": 2}
    status = stack.finished(job_id)
    assert status["result"] == [["k1", {"amount": 100}, 2]] and Reason.SIGNALLED in reasons(status)
    again = send(stack, job_id, {"amount": 100}, key="k1")
    assert again.status == 200 and again.body == answer.body
    assert_problem(stack, send(stack, job_id, {"amount": 101}, key="k1"), 422, "idempotency-key-reused")
    assert_problem(stack, send(stack, job_id, 1, key="k2"), 409, "wrong-state")
    signals = stack.call("GET", f"/jobs/{job_id}/signals").body
    assert [one["id"] for one in signals["unread"]] == ["near"] and signals["received"] == 2
    assert [(one["id"], one["taken_by"]) for one in signals["taken"]] == [("k1", "go")]
    (step,) = stack.call("GET", f"/jobs/{job_id}/steps").body["steps"]
    assert (step["name"], step["key"], step["call"], step["state"]) == ("go", 0, "wait", "kept")
    newest = {name: step[name] for name in ("name", "key", "call", "state", "at")}
    assert stack.call("GET", f"/jobs/{job_id}").body["steps"] == {"kept": 1, "newest": newest, "unread": 1}


def test_a_signal_before_any_worker_runs_the_job_is_taken(stack: TestStack) -> None:
    scheduled = stack.process(KIND, payload={"count": 1}, delay_s=2)
    assert send(stack, scheduled, "early").status == 202
    assert stack.call("POST", f"/kinds/{KIND}/pause", {}).status == 200
    try:
        eventually(lambda: stays_queued(stack), within_s=20, what="its worker knows of the pause")
        queued = stack.process(KIND, payload={"count": 1})
        assert send(stack, queued, "early").status == 202
        assert stack.status(queued)["state"] == State.QUEUED
    finally:
        assert stack.call("POST", f"/kinds/{KIND}/resume").status == 200
    for job_id in (scheduled, queued):
        status = stack.finished(job_id)
        assert status["result"][0][1] == "early" and Reason.PARKED not in reasons(status)


def test_a_signal_in_an_earlier_step_is_taken(stack: TestStack, tmp_path: Path) -> None:
    job_id = stack.process("test.signalled-later", payload={"folder": str(tmp_path)})
    eventually(lambda: stack.status(job_id)["state"] == State.RUNNING, within_s=20, what="it runs")
    assert send(stack, job_id, "now").status == 202
    (tmp_path / "gate").touch()
    assert stack.finished(job_id)["result"] == "now"


def test_a_wait_in_memory_ends_at_once(stack: TestStack) -> None:
    job_id = stack.process(KIND, payload={"count": 1, "within_s": 9})

    def is_open() -> bool:
        steps = stack.call("GET", f"/jobs/{job_id}/steps").body["steps"]
        return [one["state"] for one in steps] == ["open"]

    eventually(is_open, within_s=20, what="it waits in memory")
    told = stack.metric("acked_commands_total", '{way="line"}')
    began = time.monotonic()
    assert send(stack, job_id, 3).status == 202
    status = stack.finished(job_id)
    assert time.monotonic() - began < 5
    assert status["result"][0][1] == 3 and status["attempt"] == 1 and Reason.PARKED not in reasons(status)
    assert stack.metric("acked_commands_total", '{way="line"}') == told + 1


@pytest.mark.long
def test_200_signals_in_a_loop_are_taken_in_order(stack: TestStack) -> None:
    job_id = stack.process(KIND, payload={"count": 200})
    for number in range(200):
        assert send(stack, job_id, number, key=f"n{number}").status == 202
    status = stack.finished(job_id, wait_s=60)
    assert status["result"] == [[f"n{number}", number, number + 1] for number in range(200)]


@pytest.mark.parametrize(
    "point", ["gateway.signal-pushed", pytest.param("gateway.signal-woke", marks=pytest.mark.long)]
)
def test_a_gateway_that_dies_behind_the_push_loses_no_signal(stack: TestStack, point: str) -> None:
    layout = stack.stack.layout
    job_id = stack.process(KIND, payload={"count": 1})
    parked(stack, job_id)
    environment.keep_for(layout, "gateway-1", {"ACKED_CRASH": f"{point}:1:kill"})
    killed = stack.stack.parts.kill("gateway-1")
    armed = layout.logs / "gateway-1.log"
    eventually(lambda: f'"point": "{point}"' in armed.read_text(errors="replace"), within_s=30, what="it is armed")
    eventually(lambda: stack.call("GET", "/healthz").status == 200, within_s=30, what="it is back")
    assert stack.stack.parts.pid("gateway-1") != killed
    environment.keep_for(layout, "gateway-1", {})
    with pytest.raises((OSError, HTTPException)):
        send(stack, job_id, point, key="k1")
    eventually(lambda: stack.call("GET", "/healthz").status == 200, within_s=30, what="it is back")
    status = stack.finished(job_id)
    assert status["result"] == [["k1", point, 1]]
    assert send(stack, job_id, point, key="k1").status == 200


KILL_EVERY_S, BACK_WITHIN_S = 2.0, 30.0


@pytest.mark.parametrize(
    ("clients", "number_of_jobs", "each", "kills"),
    [(6, 10, 60, 4), pytest.param(20, 100, 100, 30, marks=pytest.mark.long)],
    ids=["small", "2,000 signals to 100 jobs"],
)
def test_every_signal_with_a_2xx_is_taken_once_and_in_order(
    stack: TestStack, clients: int, number_of_jobs: int, each: int, kills: int
) -> None:
    count = clients * each // number_of_jobs
    jobs = [stack.process(KIND, payload={"count": count}) for _ in range(number_of_jobs)]
    for job_id in jobs:
        parked(stack, job_id)
    accepted: dict[str, dict[int, list[str]]] = {job_id: {client: [] for client in range(clients)} for job_id in jobs}
    failed: list[str] = []
    is_back = threading.Event()
    over = threading.Event()
    began = time.monotonic()

    def run(client: int) -> None:
        for number in range(each):
            # Over all of the time in which gateways are killed.
            over.wait(max(0.0, began + number * kills * KILL_EVERY_S / each - time.monotonic()))
            job_id = jobs[(client + number) % number_of_jobs]
            key = f"c{client}.{number}"
            # Sent until it has a response, and two thirds of them once or twice more.
            for tries in itertools.count():
                try:
                    answer = send(stack, job_id, [client, number], key=key)
                except (OSError, HTTPException):
                    # Set already where the connection was just an old one.
                    is_back.wait(BACK_WITHIN_S)
                    continue
                if answer.status in (200, 202) and tries >= number % 3:
                    break
                if answer.status not in (200, 202, 503):
                    failed.append(f"{key}: {answer.status} {answer.raw!r}")
                    return
            accepted[job_id][client].append(key)

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(KILL_EVERY_S)
        is_back.clear()
        stack.stack.parts.kill("gateway-1")
        eventually(lambda: stack.call("GET", "/healthz").status == 200, within_s=BACK_WITHIN_S, what="it is back")
        is_back.set()
    for thread in threads:
        thread.join(timeout=120)
    assert failed == [] and not any(thread.is_alive() for thread in threads)
    for job_id in jobs:
        result = eventually(lambda job_id=job_id: stack.finished(job_id), within_s=60, what="it has ended")["result"]
        ids = [one[0] for one in result]
        assert len(ids) == len(set(ids)) == count
        assert [one[2] for one in result] == sorted(one[2] for one in result)
        for client, sent in accepted[job_id].items():
            assert [one for one in ids if one.startswith(f"c{client}.")] == sent
