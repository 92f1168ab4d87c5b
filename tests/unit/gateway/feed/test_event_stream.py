"""The feed as server-sent events: what a stream asks for, what it is sent, how it ends, what it leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette

from acked_common.api.authenticator import TOKEN_KEY
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import SCOPE_KEY
from acked_common.model.topics import Origin
from acked_gateway.feed.event_stream import (
    HEARTBEAT,
    RETRY_AT_STOP_MS,
    RETRY_MS,
    FeedStreams,
    event_text,
    subscriptions_of,
)
from acked_gateway.feed.frames import MAX_IDS
from acked_gateway.feed.operations import MAX_EVENT_ID_CHARS
from acked_gateway.feed.ring import RING_CHARS
from acked_gateway.feed.session import FEED_PATH
from acked_gateway.feed.subscription import jobs_snapshot
from acked_gateway.feed.websocket import FeedSockets
from support.factories import ManualClock
from support.feed_bench import ADA, BOB, OF_ONE, FeedBench
from support.parts import BOUND_S, settle

EVENTS = "text/event-stream"


class Reader:
    """A client's end of an event stream."""

    def __init__(self, bench: "Bench", target: str, headers: dict[str, str], method: str = "GET") -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.has_ended = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.parts = 0
        self._leaves = asyncio.Event()
        self._asked = False
        path, _, query = target.partition("?")
        record = bench.door.guest.record
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            **({} if record is None else {TOKEN_KEY: record, SCOPE_KEY: record.principal}),
        }
        self.serving = asyncio.create_task(bench.application(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        await self.reads.wait()
        self.parts += 1
        self.body += message.get("body", b"")
        self.has_ended = not message.get("more_body", False)

    async def refused(self) -> Any:
        """The problem that it is sent in place of a stream."""
        await asyncio.wait_for(self.serving, BOUND_S)
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.body)

    async def leave(self) -> None:
        self._leaves.set()
        self.reads.set()
        await asyncio.wait_for(self.serving, BOUND_S)

    @property
    def events(self) -> list[dict[str, str]]:
        """The events and comments so far, each by the names of its fields."""
        blocks = self.body.decode().split("\n\n")[:-1]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(event["data"]) for event in self.events if "data" in event]

    @property
    def types(self) -> list[str]:
        return [event["event"] for event in self.events if "event" in event]


class Bench(FeedBench):
    def __init__(self) -> None:
        super().__init__()
        self.stopping = asyncio.Event()
        self.polls = self.limit("long-polls", 8, 4)
        streams = FeedStreams(self.feed, self.polls, self.stopping)
        routes = [*streams.routes(), *FeedSockets(self.feed).routes()]
        self.application = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)

    @asynccontextmanager
    async def reading(self, query: str = "all=true", *, method: str = "GET", **headers: str) -> AsyncIterator[Reader]:
        sent = {"Accept": EVENTS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        reader = Reader(self, f"{FEED_PATH}?{query}", sent, method)
        await settle(20)
        try:
            yield reader
        finally:
            await reader.leave()

    def publish(self, count: int = 1, *, batch: str | None = None) -> None:
        now = ManualClock().now()
        self.hub.publish(
            JobUpdate(
                one,
                Origin(self.door.guest.principal.tenant, "noop", batch),
                JobEvent(one, 1, State.QUEUED, Reason.ACCEPTED, 0, now),
            )
            for one in (new_id() for _ in range(count))
        )

    def send_snapshots(self) -> None:
        while self.snapshots.wanted:
            self.snapshots.wanted.pop().accept(jobs_snapshot([]))


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_stream_begins_with_hello_and_its_snapshot(bench: Bench) -> None:
    async with bench.reading("batch=b") as reader:
        assert (reader.status, reader.headers["content-type"]) == (200, EVENTS)
        assert "content-length" not in reader.headers
        assert RETRY_MS[0] <= int(reader.events[0]["retry"]) <= RETRY_MS[1]
        bench.send_snapshots()
        await settle()
        bench.publish(batch="b")
        bench.publish(batch="other")
        await settle()
        assert reader.types == ["hello", "snapshot", "events"]
        assert [frame["type"] for frame in reader.frames] == reader.types
        assert [event["id"] for event in reader.events[1:]] == ["boot-1.1", "boot-1.2", "boot-1.3"]
        assert reader.frames[1:] == [
            {"type": "snapshot", "sub": "batch", "jobs": []},
            {**reader.frames[2], "sub": "batch", "seq": 1},
        ]
        assert len(reader.frames[2]["events"]) == 1


async def test_each_scope_is_a_subscription_of_its_own(bench: Bench) -> None:
    async with bench.reading(f"ids={new_id()},{new_id()}&batch=b&kind=noop&all=true"):
        assert [one.sub for one in bench.snapshots.wanted] == ["ids", "batch", "kind", "all"]
        assert (bench.limits.subscriptions.ledger.held, bench.limits.ids.ledger.held) == (4, 2)
    assert (bench.limits.subscriptions.ledger.held, bench.limits.ids.ledger.held) == (0, 0)


async def test_stream_with_a_last_event_id_resyncs_first(bench: Bench) -> None:
    async with bench.reading("batch=b&kind=noop", Last_Event_ID="boot-0.17") as reader:
        bench.send_snapshots()
        await settle()
        assert reader.types[:3] == ["hello", "resync", "resync"]
        assert sorted(reader.types[3:]) == ["snapshot", "snapshot"]


async def test_last_event_id_without_end_is_refused(bench: Bench) -> None:
    async with bench.reading(Last_Event_ID="x" * (MAX_EVENT_ID_CHARS + 1)) as reader:
        assert ((await reader.refused())["type"], reader.status) == ("/problems/invalid-field", 422)


@pytest.mark.parametrize(
    ("query", "pointer", "says"),
    [
        ("", "?all", "all=true"),
        ("all=yes", "?all", "must be true"),
        ("batch=", "?all", "all=true"),
        ("batch=" + "x" * 65, "?batch", "64"),
        ("kind=" + "x" * 65, "?kind", "64"),
        ("ids=1,2", "?ids", "not an id: '1'"),
        ("ids=" + ",".join(["x"] * (MAX_IDS + 1)), "?ids", "1,000"),
        ("scope=all", "?scope", "Known: ids, batch, kind, all"),
        ("batches=b", "?batches", "did you mean 'batch'?"),
        ("batch=a&batch=b", "?batch", "more than once"),
    ],
    ids=["none", "not all", "empty", "long batch", "long kind", "no ids", "many ids", "unknown", "misspelt", "twice"],
)
async def test_query_that_names_no_scope_is_refused(bench: Bench, query: str, pointer: str, says: str) -> None:
    async with bench.reading(query) as reader:
        (error,) = (await reader.refused())["errors"]
        assert (reader.status, error["pointer"]) == (422, pointer)
        assert says in error["detail"]
    assert bench.feeds.ledger.held == bench.polls.ledger.held == 0


@pytest.mark.parametrize("accept", ["*/*", "text/*", "application/json", "text/event-stream;q=0", None])
async def test_request_without_the_media_type_is_426(bench: Bench, accept: str | None) -> None:
    reader = Reader(bench, f"{FEED_PATH}?anything=1", {} if accept is None else {"Accept": accept})
    await reader.leave()
    assert ((await reader.refused())["type"], reader.status) == ("/problems/upgrade-required", 426)


async def test_head_names_the_media_type_and_holds_nothing(bench: Bench) -> None:
    async with bench.reading(method="HEAD") as reader:
        await asyncio.wait_for(reader.serving, BOUND_S)
        assert (reader.status, reader.headers["content-type"], reader.body) == (200, EVENTS, b"")
        assert bench.feeds.ledger.held == 0


async def test_post_is_405(bench: Bench) -> None:
    async with bench.reading(method="POST") as reader:
        assert ((await reader.refused())["status"], reader.headers["allow"]) == (405, "GET")


async def test_streams_of_one_client_are_bounded(bench: Bench) -> None:
    bench.door.of(ADA)
    async with bench.reading(), bench.reading():
        for _ in range(3):
            async with bench.reading() as refused:
                assert ((await refused.refused())["limit"], refused.status) == ("feeds", 429)
        assert bench.feeds.ledger.held == bench.polls.ledger.held == OF_ONE
        bench.door.of(BOB)
        async with bench.reading() as other:
            assert other.status == 200
    assert bench.feeds.ledger.held == bench.polls.ledger.held == 0


@pytest.mark.parametrize("limit", ["feed-subscriptions", "feed-ids", "long-polls"])
async def test_stream_beyond_another_limit_is_refused_whole(bench: Bench, limit: str) -> None:
    bench.door.of(ADA)
    taken, queries = {
        "feed-subscriptions": (bench.limits.subscriptions, "batch=b&all=true"),
        "feed-ids": (bench.limits.ids, f"all=true&ids={new_id()},{new_id()}"),
        "long-polls": (bench.polls, "all=true"),
    }[limit]
    room = taken.ledger.of_client - (0 if limit == "long-polls" else 1)
    holder = bench.door.guest.client
    with taken.holding(holder, room):
        async with bench.reading(queries) as reader:
            assert ((await reader.refused())["limit"], reader.status) == (limit, 429)
        assert taken.ledger.held == room
    assert bench.feeds.ledger.held == bench.stream.followers == 0
    assert list(bench.hub.rings) == []


async def test_client_that_left_leaves_nothing(bench: Bench) -> None:
    async with bench.reading() as reader:
        assert bench.stream.followers == 1
    assert reader.has_ended
    assert bench.stream.followers == 0
    assert list(bench.hub.rings) == []


async def test_slow_reader_gets_resync_and_bounded_memory(bench: Bench) -> None:
    async with bench.reading() as reader:
        bench.send_snapshots()
        await settle()
        reader.reads.clear()
        for _ in range(30):
            bench.publish(500)
            await settle(2)
        (ring,) = bench.hub.rings
        assert sum(entry.size for entry in ring.since(ring.base)) <= RING_CHARS
        before = reader.parts
        reader.reads.set()
        await settle(50)
        # The frame that it had not taken comes first.
        assert reader.types[-1] == "resync"
        assert reader.parts - before <= 2
        bench.send_snapshots()
        await settle()
        bench.publish()
        await settle()
        assert reader.types[-3:] == ["resync", "snapshot", "events"]


async def test_slow_reader_is_sent_no_heartbeats(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_gateway.feed.session.PING_EVERY_S", 0.0)
    async with bench.reading() as reader:
        await bench.feed._ping()
        await settle()
        assert reader.body.decode().endswith(HEARTBEAT)
        reader.reads.clear()
        for _ in range(5):
            await bench.feed._ping()
            await settle()
        reader.reads.set()
        await settle()
        assert reader.body.decode().count(HEARTBEAT) == 2


async def test_stream_whose_token_was_revoked_ends(bench: Bench) -> None:
    bench.door.of(ADA)
    async with bench.reading() as reader:
        bench.door.holds = False
        await bench.feed._check_tokens()
        await asyncio.wait_for(reader.serving, BOUND_S)
        assert reader.has_ended
        assert (reader.types[-1], reader.frames[-1]["problem"]["type"]) == ("problem", "/problems/unknown-token")
    assert bench.stream.followers == 0


async def test_stream_ends_with_a_retry_when_the_process_stops(bench: Bench) -> None:
    async with bench.reading() as reader:
        bench.stopping.set()
        await asyncio.wait_for(reader.serving, BOUND_S)
        assert reader.has_ended
        assert RETRY_AT_STOP_MS[0] <= int(reader.events[-1]["retry"]) <= RETRY_AT_STOP_MS[1]


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_event_has_one_line_of_data(line_end: str) -> None:
    text = event_text(f'{{"type":"events",{line_end}"seq":1}}', "b.1")
    assert text.count("\n") == 4 and "\r" not in text
    assert json.loads(text.split("data: ")[1]) == {"type": "events", "seq": 1}


def test_scopes_are_of_the_clients_tenant() -> None:
    ids = [new_id() for _ in range(MAX_IDS)]
    found = subscriptions_of({"ids": ",".join(map(str, ids)), "kind": "k"}, tenant="acme")
    assert [(one.sub, one.topic.tenant) for one in found] == [("ids", "acme"), ("kind", "acme")]
    assert found[0].topic.ids == frozenset(ids)
