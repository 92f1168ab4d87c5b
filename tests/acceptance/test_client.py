"""The client library against a running stack: typed results, commands, lists, bulk actions, and lost responses."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from acked.kinds.demo import demo
from acked_client import (
    Acked,
    AsyncAcked,
    JobCancelled,
    JobFailed,
    JobFilter,
    Resolution,
    State,
    StillRunning,
    Submission,
    problems,
)
from support.loop_thread import LoopThread
from support.nonce import nonce
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually
from support.tcp_proxy import Proxy

SUBMITS = 1_000
THIRD = 3
AT_ONCE = 8


@pytest.fixture
def acked(stack: TestStack) -> Iterator[Acked]:
    with Acked(f"http://localhost:{stack.gateway_port}") as client:
        yield client


def jobs_of(acked: Acked, batch: str) -> list[str]:
    """The payload nonces are not in lists: the ids of a batch."""
    return [job.id for job in acked.jobs(JobFilter(batch=batch), page_size=300)]


def test_result_has_the_type_of_the_handler(acked: Acked) -> None:
    job = acked.submit(demo, {"seconds": 0.05}, batch=f"client-{nonce()}", tags=["a", "b"])
    assert job.result(timeout=30) == {"slept_s": 0.05}
    status = job.status()
    assert (status.state, status.tags, status.kind) == (State.SUCCEEDED, ["a", "b"], "demo")
    assert status.has_ended and status.history[0].reason == "accepted"
    assert acked.job(job.id, demo).result(timeout=1)["slept_s"] == 0.05


def test_same_key_is_the_same_job(acked: Acked) -> None:
    key = f"client-{nonce()}"
    first = acked.submit("noop", {"n": 1}, idempotency_key=key)
    again = acked.submit("noop", {"n": 1}, idempotency_key=key)
    assert (first.id, first.is_replay, again.is_replay) == (again.id, False, True)
    with pytest.raises(problems.IdempotencyKeyReused) as caught:
        acked.submit("noop", {"n": 2}, idempotency_key=key)
    assert caught.value.problem.members["id"] == first.id and caught.value.idempotency_key == key


def test_refusals_are_classes(acked: Acked) -> None:
    with pytest.raises(problems.UnknownKind) as caught:
        acked.submit("no-such-kind")
    assert "noop" in caught.value.problem.members["known_kinds"]
    with pytest.raises(problems.InvalidField):
        acked.submit("noop", delay_s=-1)
    with pytest.raises(problems.NotFound):
        acked.job("0198a000-0000-7000-8000-000000000000").status()


def test_failed_job_is_resolved_and_retried(acked: Acked) -> None:
    job = acked.submit("test.permanent", {"nonce": nonce()})
    with pytest.raises(JobFailed, match="the card was declined") as caught:
        job.result(timeout=30)
    assert caught.value.error is not None and caught.value.error.type == "card-declined"
    assert caught.value.idempotency_key == job.idempotency_key and len(caught.value.attempts) == 1
    assert job.retry().run == 2
    assert job.wait(timeout=30).state == State.FAILED
    assert job.resolve(Resolution(state="succeeded", result={"by": "hand"}, note="called them")).run == 3
    assert job.result() == {"by": "hand"}
    with pytest.raises(problems.WrongState):
        job.retry()
    assert job.erase().erased_at is not None


def test_scheduled_job_is_run_now_or_cancelled(acked: Acked) -> None:
    job = acked.submit("noop", delay_s=3600)
    with pytest.raises(StillRunning, match="scheduled"):
        job.result(timeout=0)
    assert job.run_now().state in set(State)
    assert job.wait(timeout=30).state == State.SUCCEEDED
    other = acked.submit("noop", delay_s=3600)
    assert other.cancel().state == State.CANCELLED
    with pytest.raises(JobCancelled):
        other.result()
    edited = other.edit({"n": 2})
    assert edited.wait(timeout=30).edited_from == other.id


def test_signals_and_steps(acked: Acked) -> None:
    job = acked.submit("test.signalled", {"count": 2})
    sent = job.signal("go", {"n": 1}, id=f"one-{nonce()}")
    assert sent.seq == 1 and job.signal("go", 7).seq == 2
    assert [taken[1] for taken in job.result(timeout=30)] == [{"n": 1}, 7]
    assert [(step.name, step.key, step.state) for step in job.steps()] == [("go", 0, "kept"), ("go", 1, "kept")]
    assert [step.key for step in job.steps(newest_first=True)] == [1, 0]


def test_lists_are_read_page_by_page(acked: Acked) -> None:
    batch = f"client-{nonce()}"
    rows = [Submission(kind="noop", payload={"n": n}, batch=batch, tags=("odd",) if n % 2 else ()) for n in range(25)]
    ids = [row.job.id for row in acked.submit_many(rows) if row.job is not None]
    assert len(set(ids)) == 25
    listed = list(acked.jobs(JobFilter(batch=batch), page_size=10))
    assert {job.id for job in listed} == set(ids)
    assert len(list(acked.jobs(JobFilter(batch=batch, tag="odd"), page_size=5))) == 12
    eventually(lambda: acked.batch(batch).states == {State.SUCCEEDED: 25}, within_s=30, what="all have ended")
    assert {"noop", "demo"} <= {kind.kind for kind in acked.kinds()}


def test_row_that_is_refused_leaves_the_others(acked: Acked) -> None:
    batch, prefix = f"client-{nonce()}", f"import-{nonce()}"
    rows = [Submission(kind="noop" if n != 3 else "no-such-kind", payload={"n": n}, batch=batch) for n in range(8)]
    found = list(acked.submit_many(rows, key_prefix=prefix, concurrency=3))
    assert [row.index for row in found] == list(range(8))
    assert isinstance(found[3].error, problems.UnknownKind) and found[3].job is None
    again = list(acked.submit_many(rows, key_prefix=prefix))
    assert [row.job and row.job.id for row in again] == [row.job and row.job.id for row in found]
    assert all(row.job is None or row.job.is_replay for row in again)
    assert len(jobs_of(acked, batch)) == 7


def test_bulk_action_moves_what_its_preview_showed(acked: Acked) -> None:
    batch = f"client-{nonce()}"
    rows = [Submission(kind="noop", batch=batch, delay_s=3600) for _ in range(5)]
    ids = [row.job.id for row in acked.submit_many(rows) if row.job is not None]
    preview = acked.preview_bulk_action("cancel", JobFilter(batch=batch))
    assert preview.count == 5 and len(preview.examples) == 5
    late = acked.submit("noop", batch=batch, delay_s=3600)
    action = acked.bulk_action("cancel", JobFilter(batch=batch), plan=preview.plan, reason="a test")
    assert action.wait(timeout=30).done == 5
    assert list(acked.bulk(action.id).progress())[-1].state == "done"
    assert late.status().state == State.SCHEDULED
    slow = acked.bulk_action("cancel", [late.id], rate_per_s=0.1)
    assert slow.abort().id == slow.id and slow.wait(timeout=30).state in ("aborted", "done")
    with pytest.raises(ValueError, match="all jobs"):
        acked.bulk_action("cancel", JobFilter())
    assert {acked.job(job_id).status().state for job_id in ids} == {State.CANCELLED}


def test_attention_lists_groups_of_errors(acked: Acked) -> None:
    word = nonce()
    job = acked.submit("test.permanent", {"nonce": word})
    group = job.wait(timeout=30).error
    assert group is not None

    def found() -> bool:
        return any(one.group == group.group and one.count >= 1 for one in acked.attention(kind="test.permanent"))

    eventually(found, within_s=CENSUS_WITHIN_S, what="the census counts it")


@contextmanager
def every_third_response_lost(stack: TestStack) -> Iterator[tuple[Proxy, int]]:
    """A proxy in front of intake that cuts the connection of each third POST once intake has responded."""
    thread = LoopThread("proxy")
    proxy = Proxy("127.0.0.1", stack.intake_port)
    count = 0

    def is_third(chunk: bytes) -> bool:
        nonlocal count
        count += chunk.startswith(b"POST ")
        return chunk.startswith(b"POST ") and count % THIRD == 0

    proxy.loses = is_third
    thread.run(proxy.start())
    try:
        yield proxy, proxy.port
    finally:
        thread.run(proxy.close())
        thread.stop()


@pytest.mark.long
def test_lost_responses_of_many_rows_make_no_second_job(stack: TestStack, acked: Acked) -> None:
    batch = f"lost-rows-{nonce()}"
    rows = (Submission(kind="noop", payload={"n": n}, batch=batch) for n in range(5 * SUBMITS))
    with every_third_response_lost(stack) as (proxy, port):
        intake = f"http://127.0.0.1:{port}"
        with Acked(f"http://localhost:{stack.gateway_port}", intake=intake) as client:
            found = list(client.submit_many(rows))
        assert proxy.lost >= THIRD
    assert [row.index for row in found] == list(range(5 * SUBMITS))
    ids = [row.job.id for row in found if row.job is not None]
    assert Counter(jobs_of(acked, batch)) == Counter(ids)


def made_once(acked: Acked, batch: str, ids: list[str]) -> None:
    """As many jobs as submits, and none twice."""
    assert len(set(ids)) == SUBMITS
    assert Counter(jobs_of(acked, batch)) == Counter(ids)


def test_lost_responses_make_no_second_job(stack: TestStack, acked: Acked) -> None:
    batch = f"lost-{nonce()}"
    with every_third_response_lost(stack) as (proxy, port):
        intake = f"http://127.0.0.1:{port}"
        with (
            Acked(f"http://localhost:{stack.gateway_port}", intake=intake) as client,
            ThreadPoolExecutor(AT_ONCE) as threads,
        ):
            submits = [threads.submit(client.submit, "noop", {"n": n}, batch=batch) for n in range(SUBMITS)]
            ids = [submit.result().id for submit in submits]
        assert proxy.lost >= SUBMITS // THIRD
    made_once(acked, batch, ids)


@pytest.mark.long
def test_lost_responses_make_no_second_job_in_asyncio(stack: TestStack, acked: Acked) -> None:
    batch = f"lost-async-{nonce()}"

    async def submit(intake: str) -> list[str]:
        at_once = asyncio.Semaphore(AT_ONCE)
        async with AsyncAcked(f"http://localhost:{stack.gateway_port}", intake=intake) as client:

            async def submit_one(n: int) -> str:
                async with at_once:
                    return (await client.submit("noop", {"n": n}, batch=batch)).id

            return list(await asyncio.gather(*map(submit_one, range(SUBMITS))))

    with every_third_response_lost(stack) as (proxy, port):
        ids = asyncio.run(submit(f"http://127.0.0.1:{port}"))
        assert proxy.lost >= SUBMITS // THIRD
    made_once(acked, batch, ids)


async def test_asyncio_client_does_the_same(stack: TestStack) -> None:
    batch = f"client-async-{nonce()}"
    async with AsyncAcked(f"http://localhost:{stack.gateway_port}") as acked:
        watched = asyncio.create_task(ends_of(acked, batch, 3))
        jobs = [await acked.submit(demo, {"seconds": 0.1}, batch=batch) for _ in range(3)]
        assert await asyncio.gather(*(job.result(timeout=30) for job in jobs)) == [{"slept_s": 0.1}] * 3
        assert await asyncio.wait_for(watched, 30) == {job.id for job in jobs}
        assert {job.id async for job in acked.jobs(JobFilter(batch=batch))} == {job.id for job in jobs}
        action = await acked.bulk_action("erase", [job.id for job in jobs])
        assert [status.done async for status in action.progress()][-1] == 3


async def ends_of(acked: AsyncAcked, batch: str, count: int) -> set[str]:
    ended: set[str] = set()
    async for event in acked.watch(batch=batch):
        if event.state == State.SUCCEEDED:
            ended.add(event.id)
        if len(ended) == count:
            return ended
    raise AssertionError("a watch has no end")


def test_progress_is_watched(acked: Acked) -> None:
    job = acked.submit("test.steps")
    values: list[Any] = []
    try:
        for event in acked.watch(ids=[job.id], progress=True):
            if event.progress is not None:
                values.append(event.progress.value)
                if event.progress.value == {"page": 2, "of": 4}:
                    break
    finally:
        job.cancel()
    assert values[-1] == {"page": 2, "of": 4}
    assert job.wait(timeout=30).state == State.CANCELLED


def test_token_is_in_no_log(stack: TestStack, caplog: pytest.LogCaptureFixture) -> None:
    token = f"acked_{nonce()}"
    caplog.set_level(logging.DEBUG)
    with Acked(f"http://localhost:{stack.gateway_port}", token=token) as client:
        job = client.submit("noop")
        seen = threading.Event()
        for event in client.watch(ids=[job.id]):
            if event.state == State.SUCCEEDED:
                seen.set()
                break
        assert seen.is_set() and token not in repr(client) + repr(vars(client)) + repr(job)
    assert caplog.records and token not in caplog.text
