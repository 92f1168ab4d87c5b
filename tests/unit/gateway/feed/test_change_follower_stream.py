"""The follower of the change stream: whom it tells, when a snapshot is settled, what it does when the stream ends."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest

from acked_common.api.long_poll import LongPolls
from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.store.errors import HistoryLost, StoreUnavailable
from acked_common.store.records import Changes
from acked_gateway.feed.change_follower import KEPT_OPEN_S, OPEN_WITHIN_S, RETRY, SETTLED_AFTER_S, ChangeFollower
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import jobs_snapshot
from support.factories import ManualClock, origin, topic
from support.loop_clock import LoopClock
from support.parts import BOUND_S, ShakyStore, settle

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


class Stream:
    """A change stream that tells, or raises, what it is given."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[Changes | Exception] = asyncio.Queue()
        self.closed: Exception | None = None
        """What opening raises."""
        self.opens = self.closes = self.reads = 0

    async def open(self) -> None:
        self.opens += 1
        if self.closed is not None:
            raise self.closed

    async def read(self) -> Changes:
        self.reads += 1
        found = await self.given.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        self.closes += 1

    async def tell(self, *news: JobUpdate, is_current: bool = True) -> None:
        await settle()
        self.given.put_nowait(Changes(news, is_current=is_current))
        await settle()

    async def fail(self, error: Exception) -> None:
        await settle()
        self.given.put_nowait(error)
        await settle()


class NotedWaits(LongPolls):
    """Notes what waiters are told."""

    def __init__(self) -> None:
        super().__init__(ShakyStore(ManualClock()))
        self.noted: list[tuple[UUID, int, State]] = []

    def note(self, job_id: UUID, rev: int, state: State) -> None:
        self.noted.append((job_id, rev, state))


class Settled:
    """A subscription that only notes that it was settled."""

    is_settled = False

    def settle(self) -> None:
        self.is_settled = True


class Bench:
    def __init__(self) -> None:
        self.clock = LoopClock()
        self.stream = Stream()
        self.hub = Hub()
        self.waits = NotedWaits()
        self.live = ChangeFollower(self.stream, self.hub, self.waits)
        self.followed: list[bool] = []
        self.live.on_followed(self.followed.append)

    def client(self) -> Client:
        """One that follows all jobs and has had its snapshot."""
        client = Client(lambda: None)
        self.hub.subscribe(client, "s", topic()).accept(jobs_snapshot([]))
        self.frames(client)
        return client

    def frames(self, client: Client) -> list[str]:
        found = []
        while (frame := client.next_frame()) is not None:
            found.append(frame)
        return found

    def gave(self, *news: JobUpdate) -> Settled:
        """A snapshot is given out now."""
        spy = Settled()
        self.live.snapshot_sent([spy], news)  # type: ignore[list-item]
        return spy


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    made = Bench()
    monkeypatch.setattr(
        "acked_gateway.feed.change_follower.time", SimpleNamespace(monotonic=asyncio.get_running_loop().time)
    )
    yield made
    await made.live.stop()


def moved(rev: int, state: State, job_id: UUID | None = None) -> JobUpdate:
    job_id = job_id or new_id()
    return JobUpdate(job_id, origin("k"), JobEvent(job_id, rev, state, Reason.CLAIMED.value, 1, AT))


@pytest.mark.parametrize("state", list(State))
async def test_every_move_is_told_to_clients_and_waiters(bench: Bench, state: State) -> None:
    client = bench.client()
    bench.live.follow()
    news = moved(7, state)
    await bench.stream.tell(news)
    assert bench.waits.noted == [(news.id, 7, state)]
    (frame,) = bench.frames(client)
    assert f'"state":"{state.value}"' in frame


async def test_move_that_was_told_is_not_told_again(bench: Bench) -> None:
    client = bench.client()
    bench.live.follow()
    news = moved(7, State.RUNNING)
    await bench.stream.tell(news)
    await bench.stream.tell(news, moved(6, State.QUEUED, news.id))
    assert len(bench.frames(client)) == 1
    assert len(bench.waits.noted) == 1


async def test_progress_is_no_move_for_waiters(bench: Bench) -> None:
    client = bench.client()
    bench.live.follow()
    news = moved(7, State.RUNNING)
    await bench.stream.tell(news)
    progress = b'{"value":0.5,"message":null,"at":"2026-01-02T03:04:06.000Z"}'
    await bench.stream.tell(JobUpdate(news.id, origin("k"), None, progress))
    assert '"value":0.5' in bench.frames(client)[-1]
    assert len(bench.waits.noted) == 1


async def test_snapshot_settles_with_the_second_response_after_it(bench: Bench) -> None:
    bench.live.follow()
    await bench.stream.tell()
    # One question is under way already: its response says nothing of what came before the snapshot.
    spy = bench.gave()
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    await bench.stream.tell()
    assert not spy.is_settled
    await bench.stream.tell()
    assert spy.is_settled


async def test_response_that_leaves_some_behind_settles_nothing(bench: Bench) -> None:
    bench.live.follow()
    await settle()
    spy = bench.gave()
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    for _ in range(3):
        await bench.stream.tell(is_current=False)
    assert not spy.is_settled
    await bench.stream.tell()
    await bench.stream.tell()
    assert spy.is_settled


async def test_snapshot_is_not_settled_within_its_time(bench: Bench) -> None:
    bench.live.follow()
    await settle()
    spy = bench.gave()
    for _ in range(4):
        await bench.stream.tell()
    assert not spy.is_settled
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    await bench.stream.tell()
    assert spy.is_settled


async def test_snapshots_settle_in_their_order(bench: Bench) -> None:
    bench.live.follow()
    await settle()
    first = bench.gave()
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    await bench.stream.tell()
    second = bench.gave()
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    await bench.stream.tell()
    assert (first.is_settled, second.is_settled) == (True, False)
    await bench.stream.tell()
    assert second.is_settled


async def test_job_of_a_settled_snapshot_is_not_told_again(bench: Bench) -> None:
    client = bench.client()
    bench.live.follow()
    await settle()
    news = moved(7, State.RUNNING)
    bench.gave(news)
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    for _ in range(2):
        await bench.stream.tell()
    await bench.stream.tell(news)
    assert bench.frames(client) == []


async def test_lost_history_tells_everybody_to_begin_anew(bench: Bench) -> None:
    client = bench.client()
    bench.live.follow()
    news = moved(7, State.RUNNING)
    await bench.stream.tell(news)
    spy = bench.gave()
    bench.frames(client)
    await bench.stream.fail(HistoryLost("gone"))
    assert ["resync" in frame for frame in bench.frames(client)] == [True]
    await bench.clock.advance(RETRY.cap_s)
    assert (bench.live.is_open, bench.stream.opens) == (True, 2)
    # What was known before is void: the job is told as it stands.
    await bench.stream.tell(news)
    assert len(bench.waits.noted) == 2
    # The snapshots from before are no measure any more.
    await bench.clock.advance(SETTLED_AFTER_S + 1)
    for _ in range(3):
        await bench.stream.tell()
    assert not spy.is_settled


async def test_history_lost_at_the_opening_tells_it_too(bench: Bench) -> None:
    client = bench.client()
    bench.stream.closed = HistoryLost("gone")
    bench.live.follow()
    await settle()
    assert ["resync" in frame for frame in bench.frames(client)] == [True]
    assert not bench.live.is_open


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KeyError("a reply without a field")], ids=["store", "bug"])
async def test_broken_stream_is_taken_up_and_nobody_begins_anew(bench: Bench, error: Exception) -> None:
    client = bench.client()
    bench.live.follow()
    news = moved(7, State.RUNNING)
    await bench.stream.tell(news)
    bench.frames(client)
    await bench.stream.fail(error)
    assert not bench.live.is_open
    await bench.clock.advance(RETRY.cap_s)
    assert (bench.live.is_open, bench.stream.opens) == (True, 2)
    await bench.stream.tell(news, moved(8, State.SUCCEEDED, news.id))
    (frame,) = bench.frames(client)
    assert "resync" not in frame and '"rev":8' in frame


async def test_stream_stays_open_for_a_while_without_followers(bench: Bench) -> None:
    client = bench.client()
    bench.live.follow()
    await bench.stream.tell()
    bench.live.unfollow()
    await bench.clock.advance(KEPT_OPEN_S - 1)
    await bench.stream.tell()
    assert (bench.live.is_open, bench.followed, bench.stream.closes) == (True, [False, True], 0)
    await bench.clock.advance(2)
    await bench.stream.tell()
    assert (bench.live.is_open, bench.followed, bench.stream.closes) == (False, [False, True, False], 1)
    assert ["resync" in frame for frame in bench.frames(client)] == [True]
    bench.live.follow()
    await settle()
    assert (bench.live.is_open, bench.stream.opens) == (True, 2)


async def test_stream_stays_open_until_the_last_follower_leaves(bench: Bench) -> None:
    bench.live.follow()
    bench.live.follow()
    bench.live.unfollow()
    for _ in range(3):
        await bench.clock.advance(KEPT_OPEN_S + 1)
        await bench.stream.tell()
    assert bench.live.is_open
    assert bench.stream.opens == 1


async def test_follower_that_comes_back_finds_it_open(bench: Bench) -> None:
    bench.live.follow()
    await bench.stream.tell()
    bench.live.unfollow()
    await bench.clock.advance(KEPT_OPEN_S - 1)
    bench.live.follow()
    await bench.clock.advance(KEPT_OPEN_S)
    await bench.stream.tell()
    assert (bench.live.is_open, bench.stream.opens) == (True, 1)


async def test_following_waits_a_moment_for_the_stream(bench: Bench) -> None:
    bench.stream.closed = StoreUnavailable("away")
    entered = asyncio.Event()

    async def follow() -> None:
        async with bench.live.following():
            entered.set()

    following = asyncio.create_task(follow())
    await bench.clock.advance(OPEN_WITHIN_S * 0.9)
    assert not entered.is_set()
    await bench.clock.advance(OPEN_WITHIN_S * 0.2)
    await asyncio.wait_for(following, BOUND_S)


async def test_following_ends_with_its_body_however_that_ends(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.live.following():
            assert bench.live.is_open
            raise ZeroDivisionError
    await bench.clock.advance(KEPT_OPEN_S + 1)
    await bench.stream.tell()
    assert not bench.live.is_open
