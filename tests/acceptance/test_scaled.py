"""Several of each behave as one, and a rolling restart under load loses nothing, refuses nothing, fails nothing."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native import environment
from deploy.native.stack import Stack, StackError
from deploy.native.supervisor import SUPERVISOR_LOG
from support.contract import workers
from support.feed import as_events, connected, next_frame
from support.load import Load
from support.stacks import StartStack, TestStack, eventually

TWO_OF_EACH = {"worker": 2, "intake": 2, "gateway": 2}
ROUNDS = int(os.environ.get("ACKED_TEST_ROUNDS", "1"))
DRAIN_S = 2.0
# Some end at once, some within the drain, some must be given back.
JOBS = [
    *[{"kind": "noop"}] * 6,
    *[{"kind": "demo", "payload": {"seconds": 0.5}, "max_attempts": 1}] * 3,
    {"kind": "demo", "payload": {"seconds": 3.5}, "max_attempts": 1},
]


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({"ACKED_DRAIN_S": str(DRAIN_S)}, TWO_OF_EACH)


def test_every_process_is_ready_and_each_gateway_lists_the_same_workers(stack: TestStack) -> None:
    for role, number in TWO_OF_EACH.items():
        for n in range(1, number + 1):
            assert stack.stack.parts.readiness(f"{role}-{n}") in ("ready", "degraded")
    # Right after `up`, and over the port that both share.
    listed = [frozenset(workers(stack)) for _ in range(60)]
    assert set(listed) == {frozenset({"worker-1", "worker-2"})}


async def test_one_port_leads_to_both_gateways(stack: TestStack) -> None:
    boots = set()
    for _ in range(60):
        async with connected(stack) as websocket:
            boots.add((await next_frame(websocket, "hello"))["boot"])
    assert len(boots) == 2


def test_both_intakes_accept_and_both_gateways_tell(stack: TestStack) -> None:
    for n in (1, 2):
        answer = stack.call("POST", "/process", {"kind": "noop"}, to=f"intake-{n}")
        assert answer.status == 202
        for m in (1, 2):
            told = stack.call("GET", f"/status/{answer.body['id']}?wait_s=20", to=f"gateway-{m}").body
            assert told["state"] == State.SUCCEEDED


def test_page_value_of_one_gateway_is_taken_once_by_all(stack: TestStack) -> None:
    typed = {
        "Sec-Fetch-Site": "none",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-User": "?1",
        "Sec-Fetch-Dest": "document",
    }
    for first, second in ((1, 2), (2, 1), (1, 1)):
        page = stack.call("GET", "/load-test", to=f"gateway-{first}", headers={**typed, "Accept": "text/html"}).raw
        value, batch = re.findall(rb'data-run-once="([^"]+)" data-run-batch="([^"]+)"', page)[0]
        path = f"/load-test?count=3&kind=noop&batch={batch.decode()}"
        headers = {"Acked-Run-Once": value.decode()}
        assert stack.call("POST", path, to=f"gateway-{second}", headers=headers).body["persisted"] == 3
        for again in (first, second):
            answer = stack.call("POST", path, to=f"gateway-{again}", headers=headers)
            assert (answer.status, answer.body["type"]) == (409, "/problems/stale-page")
        assert sum(stack.batch(batch.decode()).values()) == 3


def test_a_running_job_is_cancelled_through_any_gateway(stack: TestStack) -> None:
    ids = [stack.process("demo", payload={"seconds": 60}) for _ in range(6)]
    for job_id in ids:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    for number, job_id in enumerate(ids):
        answer = stack.call("POST", f"/jobs/{job_id}/cancel", to=f"gateway-{number % 2 + 1}")
        assert answer.status == 200, answer.raw
    for number, job_id in enumerate(ids):
        told = stack.call("GET", f"/status/{job_id}?wait_s=10", to=f"gateway-{(number + 1) % 2 + 1}").body
        assert (told["state"], told["attempt"]) == (State.CANCELLED, 1)


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_a_client_of_one_gateway_sees_what_the_worker_of_another_does(stack: TestStack, number: int) -> None:
    """Each worker has a line to one of the gateways; the clients of both see transitions, progress and a cancel."""
    gateways = ("gateway-1", "gateway-2")
    commands = delivered(stack, gateways)
    lines = {name: stack.metric("acked_channel_workers", to=name) for name in gateways}
    assert sum(lines.values()) == TWO_OF_EACH["worker"], lines
    async with AsyncExitStack() as clients:
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in gateways}
        websockets = {name: await clients.enter_async_context(connected(stack, to=name)) for name in gateways}
        batch = f"across-{number}"
        for websocket in websockets.values():
            await websocket.send(json.dumps({"type": "subscribe", "sub": "s", "scope": {"batch": batch}}))
            await next_frame(websocket, "snapshot")
        ids = [await asyncio.to_thread(stack.process, "test.steps", batch=batch) for _ in range(6)]

        async def until(holds: Callable[[dict[str, Any]], bool]) -> None:
            """Reads at both until such an event has come of each job."""
            for name, websocket in websockets.items():
                while {event["id"] for event in told[name] if holds(event)} != set(ids):
                    told[name] += (await next_frame(websocket, "events"))["events"]

        await until(lambda event: event.get("progress", {}).get("value") == {"page": 2, "of": 4})
        for number, job_id in enumerate(ids):
            await asyncio.to_thread(stack.call, "POST", f"/jobs/{job_id}/cancel", to=gateways[number % 2])
        await until(lambda event: State(event["state"]).is_terminal)
    # A cancel that came with a renewal alone was delivered by no gateway.
    wanted = commands + len(ids)
    eventually(lambda: delivered(stack, gateways) == wanted, within_s=20, what="each cancel went down a line")
    for job_id in ids:
        history = (await asyncio.to_thread(stack.status, job_id))["history"]
        for name in gateways:
            seen = [event for event in told[name] if event["id"] == job_id and "progress" not in event]
            assert seen == as_events(job_id, history)
        assert [entry["reason"] for entry in history[-2:]] == [Reason.CANCEL_REQUESTED, Reason.CANCELLED]


def delivered(stack: TestStack, gateways: Sequence[str]) -> float:
    """Commands that gateways have sent down the lines of workers."""
    return sum(
        stack.metric("acked_commands_total", f'{{way="{way}"}}', to=name)
        for name in gateways
        for way in ("line", "bus")
    )


def drained(stack: TestStack, part: str) -> tuple[str, str]:
    """When the last process of a worker has begun to drain and when it has stopped, from its log; they sort as text."""
    lines = (stack.stack.layout.logs / f"{part}.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    began, ended = ([one["at"] for one in logged if one["event"] == event] for event in ("draining", "worker stopped"))
    return began[-1], ended[-1]


def killed(stack: TestStack) -> list[str]:
    """Processes that did not stop in their time, from the supervisor's log."""
    log = (stack.stack.layout.logs / SUPERVISOR_LOG).read_text()
    return [line for line in log.splitlines() if line.endswith("with SIGKILL")]


@pytest.mark.long
def test_workers_that_are_too_many_drain_side_by_side(stack: TestStack) -> None:
    stack.stack.scale({"worker": 4})
    assert set(workers(stack)) == {f"worker-{n}" for n in range(1, 5)}
    held = [stack.process("demo", payload={"seconds": 60}) for _ in range(12)]
    for job_id in held:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    stack.stack.scale({"worker": 1})
    assert set(workers(stack)) == {"worker-1"}
    began, ended = zip(*(drained(stack, f"worker-{n}") for n in (2, 3, 4)), strict=True)
    assert max(began) < min(ended), "one after the other: a drain began when another had ended"
    assert killed(stack) == []
    stack.stack.scale(TWO_OF_EACH)
    for job_id in held:
        found = stack.status(job_id)
        assert found["failures"] == 0
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
        assert stack.finished(job_id)["state"] == State.CANCELLED


@pytest.mark.long
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_a_rolling_restart_under_load_loses_refuses_and_fails_nothing(stack: TestStack, number: int) -> None:
    before = stack.stack.parts.pids()
    lines: list[str] = []
    url = f"http://127.0.0.1:{stack.intake_port}/process"
    async with Load(url, JOBS, busy=2, fresh=2, seldom=8, pause_s=0.05) as load:
        await asyncio.to_thread(stack.stack.restart, told=lines.append)
        accepted = len(load.accepted)
        await asyncio.to_thread(stack.process, "noop")
    assert load.failures == []
    assert accepted > 100

    after = stack.stack.parts.pids()
    replaced = {part for part in before if before[part] != after[part]}
    assert after.keys() == before.keys()
    assert replaced == {f"{role}-{n}" for role in TWO_OF_EACH for n in (1, 2)}
    assert not {before[part] for part in replaced} & stack.stack.parts.processes().keys()
    said = {part: [line.split(": ")[1] for line in lines if line.startswith(part)] for part in before}
    for part in replaced:
        ready, gone = said[part]
        assert re.fullmatch(r"new process ready after [\d.]+ s", ready), "a new one is ready before an old one stops"
        assert re.fullmatch(r"old process exited after [\d.]+ s", gone)
    assert killed(stack) == [], "each ends by itself in its time"

    given_back = 0
    for job_id in load.accepted:
        found = await asyncio.to_thread(stack.finished, job_id)
        ended_once(found)
        given_back += found["attempt"] > 1
    assert given_back, "a job of 3.5 s does not end within the drain"


def ended_once(found: Any) -> None:
    """Succeeded, with one end, without a failure, whatever was given back in between."""
    assert (found["state"], found["run"], found["failures"]) == (State.SUCCEEDED, 1, 0), found
    history = found["history"]
    assert [entry["reason"] for entry in history].count(Reason.COMPLETED) == 1, found
    assert [State(entry["state"]).is_terminal for entry in history].count(True) == 1, found
    assert [entry["rev"] for entry in history] == list(range(1, found["rev"] + 1)), found
    assert found["attempt"] == [entry["reason"] for entry in history].count(Reason.CLAIMED), found
    assert Reason.LEASE_EXPIRED not in [entry["reason"] for entry in history], found


@pytest.mark.long
async def test_a_single_process_of_a_service_is_restarted_without_a_gap(stack: TestStack) -> None:
    await asyncio.to_thread(stack.stack.scale, {"worker": 1, "intake": 1, "gateway": 1})
    before = stack.stack.parts.pids()
    lines: list[str] = []
    url = f"http://127.0.0.1:{stack.intake_port}/process"
    try:
        async with Load(url, [{"kind": "noop"}], busy=2, fresh=2, seldom=8, pause_s=0.05) as load:
            await asyncio.to_thread(stack.stack.restart, ["intake", "gateway"], lines.append)
        after = stack.stack.parts.pids()
    finally:
        await asyncio.to_thread(stack.stack.scale, TWO_OF_EACH)
    assert load.failures == []
    assert after.keys() == before.keys(), "the second process was there for that time alone"
    assert {part for part in before if before[part] != after[part]} == {"intake-1", "gateway-1"}
    assert [line.split(":")[0] for line in lines] == [part for part in ("intake-1", "gateway-1") for _ in range(2)]
    for job_id in load.accepted:
        ended_once(await asyncio.to_thread(stack.finished, job_id))


def running_everywhere(stack: TestStack) -> list[str]:
    """Jobs that outlast each drain, on every worker some."""
    held = [stack.process("demo", payload={"seconds": 600}) for _ in range(16)]
    for job_id in held:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    return held


def moved_once(stack: TestStack, held: Sequence[str]) -> None:
    """Each runs again, has been interrupted once at most, and is cancelled here."""
    for job_id in held:
        found = eventually(
            lambda job_id=job_id: stack.status(job_id)["state"] == State.RUNNING and stack.status(job_id),
            within_s=20,
            what="the job runs again",
        )
        assert (found["attempt"] <= 2, found["failures"]) == (True, 0), found
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
        assert stack.finished(job_id)["state"] == State.CANCELLED


@pytest.mark.long
@pytest.mark.parametrize("ahead", ["1", "2", "all"])
def test_rolling_restart_interrupts_each_long_job_once(stack: TestStack, ahead: str) -> None:
    stack.stack.scale({"worker": 4})
    held = running_everywhere(stack)
    before = stack.stack.parts.pids()
    shell = {**(environment.kept(stack.stack.layout) or {}), "ACKED_RESTART_AHEAD": ahead}
    Stack(stack.stack.layout, shell).restart(["worker"], told=lambda _: None)
    after = stack.stack.parts.pids()
    assert after.keys() == before.keys()
    assert not {before[f"worker-{n}"] for n in range(1, 5)} & set(after.values())
    moved_once(stack, held)


@pytest.mark.long
def test_rolling_restart_of_one_worker_interrupts_its_job_once(stack: TestStack) -> None:
    stack.stack.scale({"worker": 1})
    held = running_everywhere(stack)
    stack.stack.restart(["worker"], told=lambda _: None)
    moved_once(stack, held)
    stack.stack.scale(TWO_OF_EACH)


@pytest.mark.long
def test_scale_down_interrupts_each_long_job_once(stack: TestStack) -> None:
    stack.stack.scale({"worker": 4})
    held = running_everywhere(stack)
    stack.stack.scale({"worker": 1})
    moved_once(stack, held)
    stack.stack.scale(TWO_OF_EACH)


def test_restart_whose_new_processes_fail_leaves_the_old_ones(stack: TestStack, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
    layout = stack.stack.layout
    before, kept = stack.stack.parts.pids(), environment.kept(layout) or {}
    with pytest.raises(StackError, match="not today"):
        Stack(layout, {**kept, "ACKED_HANDLERS_DIR": str(tmp_path)}).restart(["worker"], told=lambda _: None)
    assert stack.stack.parts.pids() == before
    assert environment.kept(layout) == kept, "a worker that dies now comes back"


async def test_rolling_restart_moves_each_feed_once(stack: TestStack) -> None:
    async with AsyncExitStack() as clients:
        old = [await clients.enter_async_context(connected(stack, to=f"gateway-{n}")) for n in (1, 2)]
        pids = stack.stack.parts.pids()
        restarting = asyncio.create_task(asyncio.to_thread(stack.stack.restart, ["gateway"], lambda _: None))
        await asyncio.gather(*(websocket.wait_closed() for websocket in old))
        # A client that connects anew as soon as it was told to leaves reaches a gateway that stays.
        again = [await clients.enter_async_context(connected(stack)) for _ in range(8)]
        await restarting
        for websocket in again:
            await websocket.send(json.dumps({"type": "subscribe", "sub": "s", "scope": {"batch": "moved"}}))
            assert await next_frame(websocket, "snapshot")
    assert not set(pids.values()) & {stack.stack.parts.pid(f"gateway-{n}") for n in (1, 2)}


@pytest.mark.long
def test_a_restart_takes_over_new_settings(stack: TestStack) -> None:
    layout = stack.stack.layout
    # Another shell, in which something else is set.
    another = Stack(layout, {**(environment.kept(layout) or {}), "ACKED_WORKER_SLOTS": "7"})
    another.restart(["worker"], told=lambda _: None)
    listed = stack.call("GET", "/workers").body["workers"]
    assert [worker["slots"] for worker in listed] == [7, 7]
    # One that is added later, or brought back, has them too.
    killed = stack.stack.parts.kill("worker-1")
    eventually(lambda: stack.stack.parts.pid("worker-1") not in (0, killed), within_s=20, what="a new worker runs")
    stack.stack.scale({"worker": 3})
    slots = {worker["slots"] for worker in stack.call("GET", "/workers").body["workers"]}
    assert slots == {7}
