"""What the change stream shows reaches all who follow, in order, while the loop serves others."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from acked_common.api.long_poll import LongPolls
from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.topics import Topic
from acked_common.store.records import Changes
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import STEPS_AT_ONCE, Hub
from acked_gateway.feed.subscription import jobs_snapshot
from support.factories import ManualClock, origin, topic
from support.parts import BOUND_S, ShakyStore


class Stream:
    """Changes as they are put in."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Changes] = asyncio.Queue()

    async def open(self) -> None:
        pass

    async def read(self) -> Changes:
        return await self.changes.get()

    async def close(self) -> None:
        pass

    def tell(self, news: Sequence[JobUpdate]) -> None:
        self.changes.put_nowait(Changes(news, is_current=True))


def moved(job: Any, rev: int) -> JobUpdate:
    event = JobEvent(job, rev, State.QUEUED, Reason.DUE.value, 0, datetime(2026, 1, 2, tzinfo=UTC))
    return JobUpdate(job, origin("k"), event)


class Follower:
    """A client of the feed that takes all frames."""

    def __init__(self, hub: Hub, scope: Topic) -> None:
        self.text = ""
        self._has_news = asyncio.Event()
        self.client = Client(self._has_news.set)
        hub.subscribe(self.client, "s", scope).accept(jobs_snapshot([]))

    def take(self) -> str:
        while (frame := self.client.next_frame()) is not None:
            self.text += frame
        return self.text

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(BOUND_S):
            while wanted not in self.take():
                self._has_news.clear()
                await self._has_news.wait()


async def test_the_loop_goes_on_while_thousands_of_scopes_are_told() -> None:
    hub, stream, job = Hub(), Stream(), new_id()
    live = ChangeFollower(stream, hub, LongPolls(ShakyStore(ManualClock())))
    scopes = [topic("ids", frozenset({job, new_id()})) for _ in range(STEPS_AT_ONCE * 5)]
    followers = [Follower(hub, scope) for scope in scopes]
    live.follow()
    await live.opened()
    turns, done = 0, asyncio.Event()

    async def count_turns() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    stream.tell([moved(job, 1)])
    stream.tell([moved(job, 2)])
    await followers[-1].until('"rev":2')
    done.set()
    await counting
    assert turns >= 10
    for follower in followers:
        text = follower.take()
        assert text.index('"rev":1') < text.index('"rev":2')
    await live.stop()


async def test_news_that_cannot_be_told_end_in_new_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, stream, job = Hub(), Stream(), new_id()
    live = ChangeFollower(stream, hub, LongPolls(ShakyStore(ManualClock())))
    follower = Follower(hub, topic())
    follower.take()

    def broken(_: Sequence[JobUpdate]) -> Iterator[None]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(hub, "publishing", broken)
    live.follow()
    await live.opened()
    stream.tell([moved(job, 1)])
    await follower.until('"type":"resync"')
    await live.stop()
