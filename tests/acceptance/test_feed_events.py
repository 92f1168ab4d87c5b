"""The feed as server-sent events, from outside: no gap, slow readers, limits, the end at a stop."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import MongoClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from acked_common.model.lifecycle import State
from support.browser import Browser
from support.feed import Observer, as_events, observers, server_sent
from support.stacks import StartStack, TestStack, eventually

CLIENTS = 12
JOBS = 300
FLOOD = 8000
"""Over two scopes, 7.7 MB of events: more than two rings, and the 4 MiB that the kernel holds for a connection."""
KIND = "test.gated"
HANDLERS = Path(__file__).parent / "gated_handlers"
WITHIN_S = 60.0
EVENTS_OF_A_JOB = 3
EVENT_BYTES = 160
SLOW_BYTES = 8192
SLOW_EVERY_S = 2.0
FEED = """
    const [url] = arguments;
    return new Promise((resolve) => {
      const types = [];
      const source = new EventSource(url);
      for (const type of ["hello", "snapshot", "resync"]) {
        source.addEventListener(type, ({data}) => {
          types.push(JSON.parse(data).type);
          if (type === "snapshot") { source.close(); resolve(types); }
        });
      }
      source.onerror = () => { source.close(); resolve("refused"); };
    });
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there no job of `KIND` ends."""
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, gate: Path) -> TestStack:
    told = {
        "ACKED_HANDLERS_DIR": str(HANDLERS),
        "TEST_GATE": str(gate),
        "ACKED_WORKER_SLOTS": "75",
        "ACKED_FEED_CLIENTS": str(CLIENTS),
    }
    return start_stack(told)


@contextmanager
def stream(
    stack: TestStack, query: str, *, to: str = "gateway", window: int | None = None, **headers: str
) -> Iterator[socket.socket]:
    """A connection that has asked for events; `window` bounds what its kernel receives ahead."""
    with closing(socket.socket()) as sock:
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.settimeout(WITHIN_S)
        sock.connect(("127.0.0.1", stack.port(to)))
        lines = [f"GET /ws/feed?{query} HTTP/1.1", "Host: localhost", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        yield sock


def read_until(sock: socket.socket, *marks: bytes, found: bytes = b"") -> bytes:
    """Reads until all marks have come in this order, or the connection ends; returns `found` and what was read."""
    pattern = re.compile(b".*".join(map(re.escape, marks)), re.DOTALL)
    until = time.monotonic() + WITHIN_S
    while not pattern.search(found):
        assert time.monotonic() < until, f"{marks} are not in {found[-1000:]!r}"
        part = sock.recv(65536)
        if not part:
            break
        found += part
    return found


def stored(stack: TestStack, batch: str) -> dict[str, tuple[int, str]]:
    """What the database holds of a batch, past all of Acked."""
    environ = stack.stack.service_environ
    with MongoClient[dict[str, Any]](environ["ACKED_MONGO_URL"], uuidRepresentation="standard") as client:
        found = client[environ["ACKED_DATABASE"]]["jobs"].find({"batch": batch}, {"rev": 1, "state": 1})
        return {str(document["_id"]): (document["rev"], document["state"]) for document in found}


async def test_job_is_followed_from_its_acceptance_to_its_end(stack: TestStack) -> None:
    url = f"http://127.0.0.1:{stack.gateway_port}/ws/feed?batch=life"
    async with (
        asyncio.timeout(WITHIN_S),
        aiohttp.ClientSession() as client,
        client.get(url, headers={"Accept": "text/event-stream"}) as response,
    ):
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        job_id = ""
        told: list[dict[str, Any]] = []
        async for event in server_sent(response.content.iter_any()):
            if event.get("event") == "snapshot":
                assert json.loads(event["data"]) == {"type": "snapshot", "sub": "batch", "jobs": []}
                job_id = await asyncio.to_thread(stack.process, "noop", batch="life")
            elif event.get("event") == "events":
                told += json.loads(event["data"])["events"]
                if State(told[-1]["state"]).is_terminal:
                    break
    history = (await asyncio.to_thread(stack.status, job_id))["history"]
    assert told == as_events(job_id, history)


def test_ledger_of_a_watch_survives_a_killed_gateway(stack: TestStack, gate: Path) -> None:
    gate.touch()
    figures = stack.call("POST", f"/load-test?count={JOBS}&kind={KIND}").body
    assert figures["persisted"] == JOBS, figures
    batch = figures["batch"]
    with observers() as watch:
        observer = watch.add_on_events(stack, f"batch={batch}")
        by_ids = watch.add_on_events(stack, "ids=" + ",".join(sorted(stored(stack, batch))))
        eventually(watch.have_snapshots, within_s=WITHIN_S, what="the first snapshots")
        eventually(lambda: stack.batch(batch).get(State.RUNNING, 0) >= 50, within_s=WITHIN_S, what="50 jobs run")
        gate.unlink()
        eventually(lambda: stack.batch(batch).get(State.SUCCEEDED), within_s=WITHIN_S, what="the first have ended")
        os.kill(stack.stack.parts.pid("gateway-1"), signal.SIGKILL)
        done = {State.SUCCEEDED.value: JOBS}
        eventually(lambda: stack.batch(batch) == done, within_s=WITHIN_S, what="all have ended")
        held = stored(stack, batch)
        for one in (observer, by_ids):
            eventually(lambda one=one: one.jobs == held, within_s=WITHIN_S, what="it agrees with the database")  # type: ignore[misc]
            assert (one.connections, one.resyncs) == (2, 1), one
        assert watch.wrong() == []


@pytest.mark.long
async def test_slow_reader_gets_resync_and_delays_no_other(stack: TestStack) -> None:
    with observers() as watch, stream(stack, "all=true&kind=noop", window=SLOW_BYTES * 2) as slow:
        beside = watch.add_on_events(stack, "kind=noop")
        found = await asyncio.to_thread(read_until, slow, b"event: snapshot")
        await asyncio.to_thread(eventually, watch.have_snapshots, within_s=WITHIN_S, what="a snapshot")
        before = revs(beside)
        flood = asyncio.create_task(asyncio.to_thread(stack.call, "POST", f"/load-test?count={FLOOD}&kind=noop"))
        took, took_at = 0, time.monotonic()

        def is_over() -> bool:
            return revs(beside) - before >= FLOOD * EVENTS_OF_A_JOB

        def is_due() -> bool:
            # It reads an eighth of what there is, so it can't catch up. It never stops for long: it would be dropped.
            share = (revs(beside) - before) * EVENT_BYTES * 2 // 8
            return is_over() or took < share or time.monotonic() - took_at > SLOW_EVERY_S

        while not is_over():
            await asyncio.to_thread(eventually, is_due, within_s=WITHIN_S, what="it may read a little")
            found += await asyncio.to_thread(slow.recv, SLOW_BYTES)
            took, took_at = took + SLOW_BYTES, time.monotonic()
        assert (await flood).body["persisted"] == FLOOD
        assert (beside.resyncs, watch.wrong()) == (0, [])
        await asyncio.to_thread(read_until, slow, b"event: resync", b"event: snapshot", found=found)


def revs(observer: Observer) -> int:
    """How many transitions it knows of."""
    return sum(rev for rev, _ in observer.jobs.values())


def test_reader_that_takes_nothing_is_dropped(stack: TestStack) -> None:
    eventually(lambda: stack.metric("acked_feed_clients") == 0, within_s=WITHIN_S, what="nobody follows")
    with stream(stack, "all=true", window=4096) as frozen:
        eventually(lambda: stack.metric("acked_feed_clients") == 1, within_s=WITHIN_S, what="it follows")
        assert stack.call("POST", f"/load-test?count={JOBS}&kind=noop").body["persisted"] == JOBS
        eventually(lambda: stack.metric("acked_feed_clients") == 0, within_s=WITHIN_S, what="it is dropped")
        assert frozen.fileno() >= 0
    assert stack.metric("acked_limit_held", '{limit="feeds"}') == 0
    assert stack.metric("acked_limit_held", '{limit="long-polls"}') == 0


def test_websockets_and_streams_share_the_limit(stack: TestStack) -> None:
    eventually(lambda: stack.metric("acked_feed_clients") == 0, within_s=WITHIN_S, what="nobody follows")
    url = f"ws://127.0.0.1:{stack.gateway_port}/ws/feed"
    accept = {"Accept": "text/event-stream"}
    with ExitStack() as clients:
        for number in range(CLIENTS):
            if number % 2:
                clients.enter_context(connect(url, proxy=None, compression=None))
            else:
                read_until(clients.enter_context(stream(stack, "all=true")), b"event: hello")
        answer = stack.call("GET", "/ws/feed?all=true", headers=accept)
        assert (answer.status, answer.body["type"], answer.body["limit"]) == (503, "/problems/busy", "feeds")
        assert answer.headers["retry-after"]
        with pytest.raises(InvalidStatus) as refused, connect(url, proxy=None):
            pass
        assert refused.value.response.status_code == 503
    eventually(lambda: stack.metric("acked_feed_clients") == 0, within_s=WITHIN_S, what="all have left")
    with stream(stack, "all=true") as sock:
        assert b"200 OK" in read_until(sock, b"event: snapshot")


@pytest.mark.parametrize(
    ("query", "name", "pointer"),
    [
        ("", "invalid-field", "?all"),
        ("?all=true&batc=b", "unknown-field", "?batc"),
        ("?ids=1", "invalid-field", "?ids"),
    ],
    ids=["no scope", "unknown", "no id"],
)
def test_query_that_cannot_be_followed_is_refused(stack: TestStack, query: str, name: str, pointer: str) -> None:
    answer = stack.call("GET", f"/ws/feed{query}", headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.body["type"]) == (422, f"/problems/{name}")
    assert answer.body["errors"][0]["pointer"] == pointer


def test_stopping_gateway_ends_streams_with_a_retry(stack: TestStack) -> None:
    pid = stack.stack.parts.pid("gateway-1")
    with stream(stack, "batch=stop") as sock:
        read_until(sock, b"event: snapshot")
        os.kill(pid, signal.SIGTERM)
        rest = read_until(sock, b"\r\n0\r\n\r\n")
        assert b"retry: " in rest
        assert rest.endswith(b"\r\n0\r\n\r\n")
    eventually(lambda: stack.stack.parts.pid("gateway-1") not in (pid, None), within_s=WITHIN_S, what="another starts")
    eventually(lambda: stack.call("GET", "/readyz").status == 200, within_s=WITHIN_S, what="it is ready")


def test_page_of_the_gateway_follows_with_an_event_source(stack: TestStack, browser: Browser) -> None:
    browser.open(f"http://localhost:{stack.gateway_port}/")
    assert browser.run(FEED, "/ws/feed?all=true") == ["hello", "snapshot"]
    browser.complaints()
