"""What workers' reports do to the follower of the change stream: transitions nothing, progress only with its proof."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from acked_common.api.long_poll import LongPolls
from acked_common.model.backoff import Backoff
from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.runtime.clock import SharedClock
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import Changes
from acked_gateway.feed import change_follower
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import jobs_snapshot
from support.factories import origin, topic
from support.memory_store import MemoryStore

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
BOOT, NONCE = "boot-1", "nonce-1"


class Stream:
    """A change stream that tells what it is given, and breaks while it is told to."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[JobUpdate] = asyncio.Queue()
        self.is_broken = False
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1
        if self.is_broken:
            raise StoreUnavailable("no server answers")

    async def read(self) -> Changes:
        return Changes([await self.given.get()], is_current=True)

    async def close(self) -> None:
        return


class Bench:
    def __init__(self) -> None:
        self.stream = Stream()
        hub = Hub()
        self.live = ChangeFollower(self.stream, hub, LongPolls(MemoryStore(SharedClock())))
        self.client = Client(lambda: None)
        subscription = hub.subscribe(self.client, 1, topic())
        subscription.accept(jobs_snapshot([]))
        assert "snapshot" in str(self.client.next_frame())

    async def told(self, news: JobUpdate) -> None:
        self.stream.given.put_nowait(news)
        async with asyncio.timeout(5):
            while self.stream.given.qsize():  # noqa: ASYNC110 - the reader tells nobody
                await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.live.follow()
    yield made
    await made.live.stop()


def event(job: JobUpdate, rev: int, state: State) -> JobEvent:
    return JobEvent(job.id, rev, state, Reason.COMPLETED.value, 1, AT)


def claimed() -> JobUpdate:
    job_id = new_id()
    return JobUpdate(job_id, origin("k"), JobEvent(job_id, 2, State.RUNNING, Reason.CLAIMED.value, 1, AT), nonce=NONCE)


async def test_a_reported_transition_reaches_no_client(bench: Bench) -> None:
    job = claimed()
    await bench.told(job)
    assert '"rev":2' in str(bench.client.next_frame())
    for rev in (3, 4, 2**40):
        bench.live.report(BOOT, [event(job, rev, State.SUCCEEDED)])
    assert bench.client.next_frame() is None


async def test_a_reported_rev_hides_no_transition(bench: Bench) -> None:
    job = claimed()
    await bench.told(job)
    bench.client.next_frame()
    bench.live.report(BOOT, [event(job, rev, State.SUCCEEDED) for rev in (3, 2**40)])
    await bench.told(JobUpdate(job.id, origin("k"), event(job, 3, State.CANCELLED)))
    frame = str(bench.client.next_frame())
    assert f'"state":"{State.CANCELLED.value}"' in frame
    assert '"rev":3' in frame


async def test_reported_progress_needs_the_nonce(bench: Bench) -> None:
    job = claimed()
    await bench.told(job)
    bench.client.next_frame()
    text = b'{"value":0.9,"message":null,"at":"9999-01-01T00:00:00.000Z"}'
    for nonce in ("", BOOT, NONCE + "x"):
        bench.live.progress(BOOT, [ProgressEvent(job.id, 1, text, nonce)])
    assert bench.client.next_frame() is None
    mine = b'{"value":0.5,"message":null,"at":"2026-01-02T03:04:06.000Z"}'
    bench.live.progress(BOOT, [ProgressEvent(job.id, 1, mine, NONCE)])
    frame = str(bench.client.next_frame())
    assert '"value":0.5' in frame
    assert NONCE not in frame


async def test_a_report_ends_the_pause_of_a_broken_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_follower, "RETRY", Backoff(base_s=0.1, cap_s=60.0))
    made = Bench()
    made.stream.is_broken = True
    made.live.follow()
    try:
        # The back-off after so many failures is longer than the whole test.
        async with asyncio.timeout(10):
            while made.stream.opened < 11:
                made.live.report(BOOT, [])
                await asyncio.sleep(0.02)
            made.stream.is_broken = False
            while not made.live.is_open:
                made.live.report(BOOT, [])
                await asyncio.sleep(0.02)
    finally:
        await made.live.stop()
