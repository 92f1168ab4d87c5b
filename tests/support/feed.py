"""Feed clients that verify their updates: each transition in order, none repeated, none missing."""

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from support.stacks import TestStack

CONNECT_WITHIN_S = 10.0
FEED_CLIENTS = 40
"""Number of clients that the gateway of the shared stack accepts."""


def connected(stack: TestStack, *, to: str = "gateway", **options: Any) -> connect:
    """Connect to the feed, of any gateway or of one process such as `gateway-2`."""
    wanted: dict[str, Any] = {"proxy": None, "compression": None, "max_size": None, **options}
    return connect(f"ws://127.0.0.1:{stack.port(to)}/ws/feed", open_timeout=CONNECT_WITHIN_S, **wanted)


async def next_frame(websocket: ClientConnection, *types: str, within_s: float = 10.0) -> dict[str, Any]:
    """Return the next frame of one of these types; skip others."""
    async with asyncio.timeout(within_s):
        while True:
            frame: dict[str, Any] = json.loads(await websocket.recv())
            if frame["type"] in types:
                return frame


def as_events(job_id: str, history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of a job's history; only its status names the actors of moves."""
    return [{"id": job_id, **{name: value for name, value in entry.items() if name != "by"}} for entry in history]


async def server_sent(parts: AsyncIterator[bytes]) -> AsyncIterator[dict[str, str]]:
    """Yield the server-sent events of a body, each by the names of its fields; comments have the empty name."""
    rest = ""
    async for part in parts:
        *blocks, rest = (rest + part.decode()).split("\n\n")
        for block in blocks:
            yield {name: value for name, _, value in (line.partition(": ") for line in block.split("\n"))}


class Observer:
    """A client that follows one scope across reconnects."""

    def __init__(self, stack: TestStack, scope: dict[str, Any]) -> None:
        self._stack = stack
        self._scope = scope
        self.jobs: dict[str, tuple[int, str]] = {}
        """The newest rev and state of each job that it knows."""
        self.counts: dict[str, int] | None = None
        """The newest counts, if the scope is shown by counts."""
        self.connections = 0
        self.resyncs = 0
        self.wrong: list[str] = []
        """Violations of the feed's guarantees."""
        self.has_snapshot = False
        self._seq = 0

    def __repr__(self) -> str:
        line = "live" if self.has_snapshot else "not live"
        return (
            f"<observer of {str(self._scope)[:60]}: {len(self.jobs)} jobs, counts {self.counts}, {line}, "
            f"{self.connections} connections, {self.resyncs} resyncs, wrong: {self.wrong[:3]}>"
        )

    async def run(self) -> None:
        """Follow the scope until cancelled."""
        while True:
            try:
                async with connected(self._stack) as websocket:
                    self.connections += 1
                    await websocket.send(json.dumps({"type": "subscribe", "sub": "s", "scope": self._scope}))
                    self.has_snapshot, self._seq = False, 0
                    async for message in websocket:
                        self._take(json.loads(message))
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake):
                self.has_snapshot = False
            await asyncio.sleep(0.05 * (0.5 + random.random()))

    async def run_on_events(self, query: str) -> None:
        """Follow a scope, in the form of a query, over server-sent events until cancelled, as a browser does."""
        last_id = ""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)) as client:
            url = f"http://127.0.0.1:{self._stack.gateway_port}/ws/feed?{query}"
            while True:
                headers: Mapping[str, str] = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
                try:
                    async with client.get(url, headers=headers) as response:
                        response.raise_for_status()
                        self.connections += 1
                        self.has_snapshot, self._seq = False, 0
                        async for event in server_sent(response.content.iter_any()):
                            if "data" in event:
                                last_id = event["id"]
                                self._take(json.loads(event["data"]))
                except (OSError, TimeoutError, aiohttp.ClientError):
                    self.has_snapshot = False
                await asyncio.sleep(0.05 * (0.5 + random.random()))

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "snapshot" if "counts" in frame:
                self.counts, self.has_snapshot = frame["counts"], True
            case "snapshot":
                if self.has_snapshot:
                    self.wrong.append("a second snapshot of jobs")
                self.has_snapshot = True
                for job in frame["jobs"]:
                    if job["rev"] < self.jobs.get(job["id"], (0, ""))[0]:
                        self.wrong.append(f"a snapshot from before: {job}")
                    self.jobs[job["id"]] = (job["rev"], job["state"])
            case "events":
                self._seq += 1
                if frame["seq"] != self._seq or not self.has_snapshot:
                    self.wrong.append(f"frame {frame['seq']} instead of {self._seq}")
                for event in frame["events"]:
                    self._take_event(event)
            case "resync":
                self.resyncs += 1
                self.has_snapshot = False
            case "error":
                self.wrong.append(str(frame))

    def _take_event(self, event: dict[str, Any]) -> None:
        known, _ = self.jobs.get(event["id"], (0, ""))
        # With counts in place of jobs, the first event of a job may have any rev.
        follows = event["rev"] == known + 1 or "progress" in event or (self.counts is not None and event["rev"] > known)
        if not follows:
            self.wrong.append(f"rev {event['rev']} after {known} of {event['id']}")
        self.jobs[event["id"]] = (event["rev"], event["state"])


class Observers:
    """Observers in a separate thread, so that a test can block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="observers", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self.all: list[Observer] = []
        self._thread.start()

    def add(self, stack: TestStack, scope: dict[str, Any], count: int = 1) -> list[Observer]:
        """Start more observers."""
        made = [Observer(stack, scope) for _ in range(count)]
        self.all += made
        self._call(lambda: self._tasks.extend(self._loop.create_task(observer.run()) for observer in made))
        return made

    def add_on_events(self, stack: TestStack, query: str) -> Observer:
        """Start one more observer, over server-sent events."""
        made = Observer(stack, {"query": query})
        self.all.append(made)
        self._call(lambda: self._tasks.append(self._loop.create_task(made.run_on_events(query))))
        return made

    def stop(self) -> None:
        """Stop all observers."""

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def have_snapshots(self) -> bool:
        """Whether each has its first snapshot."""
        return all(observer.has_snapshot for observer in self.all)

    def wrong(self) -> list[str]:
        """Return the violations that all of them saw."""
        return [text for observer in self.all for text in observer.wrong]

    def _call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


@contextmanager
def observers() -> Iterator[Observers]:
    """Yield observers that stop with the test."""
    made = Observers()
    try:
        yield made
    finally:
        made.stop()


def known(observer: Observer, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return what the observer knows of these jobs."""
    return {job_id: observer.jobs[job_id] for job_id in ids if job_id in observer.jobs}


def states_known(observer: Observer) -> Counter[str]:
    """Count the jobs that the observer knows, by state."""
    return Counter(state for _, state in observer.jobs.values())
