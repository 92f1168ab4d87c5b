"""The feed from outside: what a client is told, and what it is told of its mistakes."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from acked_common.model.lifecycle import Reason, State
from support.feed import FEED_CLIENTS, as_events, connected, next_frame, observers, states_known
from support.stacks import TestStack, eventually

LAST_STEP = {"page": 2, "of": 4}
"""What `test.steps` reports last."""


async def ask(websocket: ClientConnection, **frame: Any) -> None:
    await websocket.send(json.dumps(frame))


async def subscribe(websocket: ClientConnection, scope: dict[str, Any], sub: str | int = "s") -> dict[str, Any]:
    """Subscribes, and returns the snapshot."""
    await ask(websocket, type="subscribe", sub=sub, scope=scope)
    return await next_frame(websocket, "snapshot", "error")


async def events(websocket: ClientConnection, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += (await next_frame(websocket, "events"))["events"]
    return found


async def test_a_job_is_followed_from_its_acceptance_to_its_end(stack: TestStack) -> None:
    async with connected(stack) as websocket:
        hello = await next_frame(websocket, "hello")
        assert hello["protocol"] == 1
        assert await subscribe(websocket, {"batch": "life"}) == {"type": "snapshot", "sub": "s", "jobs": []}
        job_id = await asyncio.to_thread(stack.process, "demo", payload={"seconds": 0.2}, batch="life")

        told = await events(websocket, 3)

    history = (await asyncio.to_thread(stack.status, job_id))["history"]
    assert told == as_events(job_id, history)
    assert [event["reason"] for event in told] == [Reason.ACCEPTED, Reason.CLAIMED, Reason.COMPLETED]


async def test_each_scope_tells_its_own_jobs(stack: TestStack) -> None:
    def make(batch: str, kind: str) -> str:
        return stack.process(kind, batch=batch)

    async with connected(stack) as websocket:
        first = await asyncio.to_thread(make, "scope-a", "noop")
        await asyncio.to_thread(stack.finished, first)
        snapshot = await subscribe(websocket, {"ids": [first]}, 1)
        assert [(job["id"], job["state"], job["kind"], job["batch"]) for job in snapshot["jobs"]] == [
            (first, State.SUCCEEDED, "noop", "scope-a")
        ]
        for sub, scope in ((2, {"batch": "scope-b"}), (3, {"kind": "noop"}), (4, {"all": True})):
            assert (await subscribe(websocket, scope, sub))["sub"] == sub
        mine = await asyncio.to_thread(make, "scope-b", "noop")
        other = await asyncio.to_thread(make, "scope-c", "demo")
        await asyncio.to_thread(stack.finished, other)
        told: dict[int, set[str]] = {1: set(), 2: set(), 3: set(), 4: set()}
        while not (other in told[4] and mine in told[2] & told[3]):
            frame = await next_frame(websocket, "events")
            told[frame["sub"]] |= {event["id"] for event in frame["events"]}
    assert told[1] == set()
    assert told[2] == {mine}
    assert mine in told[3]
    assert other not in told[3]


async def test_progress_is_told_at_once_and_raises_no_rev(stack: TestStack) -> None:
    async with connected(stack) as websocket:
        await subscribe(websocket, {"batch": "progress"})
        job_id = await asyncio.to_thread(stack.process, "test.steps", batch="progress")
        told: list[dict[str, Any]] = []
        # The first report may go out alone; a cancel between the two would raise the rev of the second.
        while not any(event.get("progress", {}).get("value") == LAST_STEP for event in told):
            told += await events(websocket, 1)
        await asyncio.to_thread(stack.call, "POST", f"/jobs/{job_id}/cancel")
        while not State(told[-1]["state"]).is_terminal:
            told += await events(websocket, 1)
    progress = [event for event in told if "progress" in event]
    assert progress[-1]["progress"]["value"] == LAST_STEP
    assert {(event["state"], event["rev"]) for event in progress} == {(State.RUNNING.value, 2)}
    history = (await asyncio.to_thread(stack.status, job_id))["history"]
    assert [event for event in told if "progress" not in event] == as_events(job_id, history)


async def test_after_unsubscribe_nothing_more_comes_and_the_name_is_free(stack: TestStack) -> None:
    async with connected(stack) as websocket:
        await subscribe(websocket, {"batch": "quiet"})
        await ask(websocket, type="unsubscribe", sub="s")
        await subscribe(websocket, {"batch": "loud"}, "t")
        await asyncio.to_thread(stack.process, "noop", batch="quiet")
        await asyncio.to_thread(stack.process, "noop", batch="loud")
        frame = await next_frame(websocket, "events")
        assert frame["sub"] == "t"
        snapshot = await subscribe(websocket, {"batch": "quiet"})
        assert (snapshot["sub"], len(snapshot["jobs"])) == ("s", 1)


async def test_mistakes_are_answered_with_problems_and_the_line_stays(stack: TestStack) -> None:
    async with connected(stack) as websocket:
        await next_frame(websocket, "hello")
        for text in ("{", "[1]", '{"type":"publish"}', '{"type":"subscribe","sub":"s","scope":{"ids":["x"]}}'):
            await websocket.send(text)
            frame = await next_frame(websocket, "error")
            assert frame["problem"]["type"] == "/problems/bad-message", frame
            assert frame["problem"]["detail"]
        assert frame["sub"] == "s"
        assert (await subscribe(websocket, {"all": True}))["type"] == "snapshot"
        assert (await subscribe(websocket, {"kind": "noop"}))["type"] == "error"


@pytest.mark.parametrize(
    ("messages", "code"),
    [([b"\x00"], 1003), (["{"] * 30, 1008), ([json.dumps({"type": "unsubscribe", "sub": 1})] * 300, 1008)],
    ids=["binary", "bad frames", "too many"],
)
async def test_who_goes_on_making_mistakes_is_sent_away(
    stack: TestStack, messages: list[str | bytes], code: int
) -> None:
    async with connected(stack) as websocket:
        with pytest.raises(ConnectionClosed):
            for message in messages:
                await websocket.send(message)
            await next_frame(websocket, "never")
        assert websocket.close_code == code


async def test_a_frame_that_is_too_large_ends_the_connection(stack: TestStack) -> None:
    async with connected(stack) as websocket:
        await websocket.send(" " * (300 * 1024))
        with pytest.raises(ConnectionClosed):
            await next_frame(websocket, "never")
        assert websocket.close_code == 1009


async def test_pages_of_other_sites_are_refused_before_they_are_heard(stack: TestStack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connected(stack, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["type"] == "/problems/origin-not-allowed"
    own = f"http://127.0.0.1:{stack.gateway_port}"
    async with connected(stack, origin=own) as websocket:
        assert (await subscribe(websocket, {"all": True}))["type"] == "snapshot"


def test_more_than_a_thousand_jobs_are_shown_by_counts_that_follow(stack: TestStack) -> None:
    with observers() as watch:
        (early,) = watch.add(stack, {"batch": "many"})
        eventually(watch.have_snapshots, within_s=10, what="a snapshot")
        figures = stack.call("POST", "/load-test?count=1200&kind=noop").body
        (late, everything) = (*watch.add(stack, {"batch": figures["batch"]}), *watch.add(stack, {"all": True}))
        done = {State.SUCCEEDED.value: 1200}
        eventually(lambda: late.counts == done or states_known(late) == done, within_s=30, what="all have ended")
        eventually(lambda: late.counts == done, within_s=5, what="the counts follow")
        eventually(lambda: everything.counts is not None, within_s=10, what="everything is shown by counts")
        assert early.jobs == {}
        assert watch.wrong() == []


def test_a_long_poll_of_the_gateway_is_answered_when_the_job_moves(stack: TestStack) -> None:
    """Without asking the store again and again: as soon as the change stream tells it."""
    job_id = stack.process("demo", payload={"seconds": 1.0})
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: stack.status(job_id, "?wait_s=30"), range(50)))
    assert {answer["state"] for answer in answers} == {State.SUCCEEDED.value}
    later = stack.process("demo", delay_s=1.0, payload={"seconds": 0.0})
    moved = stack.status(later, "?wait_s=30&after_rev=1")
    assert moved["rev"] >= 2
    assert stack.status(later, "?wait_s=0.3&after_rev=100")["rev"] < 100


async def clients_are(stack: TestStack, count: int) -> None:
    """The gateway learns a moment later that one has left."""
    await asyncio.to_thread(
        eventually, lambda: stack.metric("acked_feed_clients") == count, within_s=10, what=f"{count} clients"
    )


async def test_a_gateway_that_is_full_says_so_and_takes_the_next_when_one_leaves(stack: TestStack) -> None:
    await clients_are(stack, 0)
    async with AsyncExitStack() as clients:
        websockets = [await clients.enter_async_context(connected(stack)) for _ in range(FEED_CLIENTS)]
        with pytest.raises(InvalidStatus) as refused:
            async with connected(stack):
                pass
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body)["type"] == "/problems/busy"
        await websockets[0].close()
        await clients_are(stack, FEED_CLIENTS - 1)
        async with connected(stack) as websocket:
            assert (await subscribe(websocket, {"all": True}))["type"] == "snapshot"


def test_a_plain_request_is_told_that_this_is_a_websocket(stack: TestStack) -> None:
    assert stack.call("GET", "/ws/feed").status in (404, 426)
