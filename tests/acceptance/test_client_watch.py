"""`watch` of the client while its gateway is killed: what it showed is what the database holds."""

import asyncio
import os
import random
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from acked_client import Acked, AsyncAcked, JobEvent, NoResponse, RetryPolicy, Submission
from acked_common.model.lifecycle import State
from support.loop_thread import LoopThread
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON: dict[str, str] = {}
"""A stack of its own: its gateway is killed."""
OWN_SERVERS = True
"""Their database is read."""

SMALL, LARGE = 200, 1_200
"""Jobs of a batch whose snapshot names them, and of one whose snapshot has counts."""
KILLS = 3
LONGEST_DELAY_S = 6.0


class Ledger:
    """What one watch showed, and whether it repeated anything."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.revs: dict[str, list[int]] = defaultdict(list)
        self.states: dict[str, str] = {}
        self.wrong: list[str] = []
        self.is_over = False

    def take(self, event: JobEvent) -> None:
        shown = self.revs[event.id]
        if shown and event.rev <= shown[-1]:
            self.wrong.append(f"{event.id}: {event.rev} after {shown[-1]}")
        shown.append(event.rev)
        self.states[event.id] = event.state

    def newest(self) -> dict[str, tuple[int, str]]:
        return {job_id: (revs[-1], self.states[job_id]) for job_id, revs in list(self.revs.items())}


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread("watches")
    yield made
    made.stop()


def follow(acked: Acked, ledger: Ledger, **scope: Any) -> threading.Thread:
    def run() -> None:
        try:
            for event in acked.watch(**scope):
                ledger.take(event)
                if ledger.is_over:
                    break
        except NoResponse:
            # A watch of ids gets no further event that ends it: it reconnects until long after the stack has stopped.
            if not ledger.is_over:
                raise

    thread = threading.Thread(target=run, name=ledger.name, daemon=True)
    thread.start()
    return thread


async def follow_in_asyncio(gateway: str, ledger: Ledger, **scope: Any) -> None:
    async with AsyncAcked(gateway) as acked:
        async for event in acked.watch(**scope):
            ledger.take(event)


def stored(stack: TestStack, batches: list[str]) -> dict[str, tuple[int, str]]:
    with MongoClient[dict[str, Any]](stack.stack.urls["mongo"], uuidRepresentation="standard") as client:
        found = client["acked"]["jobs"].find({"batch": {"$in": batches}}, {"rev": 1, "state": 1})
        return {str(document["_id"]): (document["rev"], document["state"]) for document in found}


def test_watches_show_what_the_database_holds(stack: TestStack, loop: LoopThread) -> None:
    gateway = f"http://localhost:{stack.gateway_port}"
    small, large = (f"watch-{size}-{nonce()}" for size in (SMALL, LARGE))
    drawn = random.Random(nonce())
    ledgers = {name: Ledger(name) for name in ("small", "large", "kind", "ids", "async small", "async large")}
    with Acked(gateway, retry=RetryPolicy(cap_s=1.0)) as acked:
        # Before the first job, so that each transition is theirs to show.
        threads = [
            follow(acked, ledgers["small"], batch=small),
            follow(acked, ledgers["large"], batch=large),
            follow(acked, ledgers["kind"], kind="demo"),
        ]
        loop.spawn(follow_in_asyncio(gateway, ledgers["async small"], batch=small))
        loop.spawn(follow_in_asyncio(gateway, ledgers["async large"], batch=large))
        eventually(lambda: stack.metric("acked_feed_clients") == 5, within_s=30, what="all watches are connected")
        ids: dict[str, list[str]] = {}
        for batch, size in ((small, SMALL), (large, LARGE)):
            rows = [
                Submission(
                    kind="demo", payload={"seconds": 0.3}, batch=batch, delay_s=drawn.uniform(0, LONGEST_DELAY_S)
                )
                for _ in range(size)
            ]
            ids[batch] = [row.job.id for row in acked.submit_many(rows) if row.job is not None]
        threads.append(follow(acked, ledgers["ids"], ids=ids[small]))
        for _ in range(KILLS):
            before = stack.stack.parts.pid("gateway-1")
            ended = len(stored_ended(stack, [small, large]))
            eventually(
                lambda ended=ended: len(stored_ended(stack, [small, large])) >= min(ended + 100, SMALL + LARGE),
                within_s=60,
                what="more have ended",
            )
            os.kill(before, signal.SIGKILL)
            eventually(lambda: acked.kinds(), within_s=60, what="the gateway is back")
        eventually(
            lambda: len(stored_ended(stack, [small, large])) == SMALL + LARGE, within_s=120, what="all have ended"
        )
        held = stored(stack, [small, large])
        of_small = {job_id: held[job_id] for job_id in ids[small]}
        of_large = {job_id: held[job_id] for job_id in ids[large]}
        wanted = {"small": of_small, "large": of_large, "kind": held, "ids": of_small}
        wanted |= {"async small": of_small, "async large": of_large}
        for name, ledger in ledgers.items():
            agrees(ledger, wanted[name])
            ledger.is_over = True
        for name in ("small", "large", "async small", "async large"):
            for job_id, (rev, _) in wanted[name].items():
                assert ledgers[name].revs[job_id] == list(range(1, rev + 1)), f"{name} left out transitions of {job_id}"
        assert [text for ledger in ledgers.values() for text in ledger.wrong] == []
        # One more event of each scope ends the threads.
        for batch in (small, large):
            acked.submit("demo", {"seconds": 0}, batch=batch)
        for thread in threads[:3]:
            thread.join(30)
            assert not thread.is_alive()


def stored_ended(stack: TestStack, batches: list[str]) -> list[str]:
    return [job_id for job_id, (_, state) in stored(stack, batches).items() if State(state).is_terminal]


def agrees(ledger: Ledger, held: dict[str, tuple[int, str]]) -> None:
    try:
        eventually(lambda: ledger.newest() == held, within_s=60, what=f"{ledger.name} agrees")
    except AssertionError:
        newest = ledger.newest()
        differ = {job_id: (newest.get(job_id), found) for job_id, found in held.items() if newest.get(job_id) != found}
        raise AssertionError(f"{ledger.name} differs in {len(differ)} of {len(held)} jobs: {differ}") from None


def test_result_is_waited_for_over_a_restart(stack: TestStack) -> None:
    with Acked(f"http://localhost:{stack.gateway_port}") as acked:
        job = acked.submit("demo", {"seconds": 4})
        done = threading.Event()
        results: list[Any] = []

        def wait() -> None:
            results.append(job.result(timeout=60))
            done.set()

        threading.Thread(target=wait, daemon=True).start()
        eventually(lambda: job.status().state == State.RUNNING, within_s=30, what="it runs")
        os.kill(stack.stack.parts.pid("gateway-1"), signal.SIGKILL)
        assert done.wait(60) and results == [{"slept_s": 4.0}]


async def test_cancelled_watch_closes_its_connection(stack: TestStack) -> None:
    async with AsyncAcked(f"http://localhost:{stack.gateway_port}") as acked:
        job = await acked.submit("noop")
        seen = asyncio.Event()

        async def follow_one() -> None:
            async for _ in acked.watch(ids=[job.id]):
                seen.set()

        before = stack.metric("acked_feed_clients")
        task = asyncio.create_task(follow_one())
        await asyncio.wait_for(seen.wait(), 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        eventually(lambda: stack.metric("acked_feed_clients") <= before, within_s=10, what="it is closed")
