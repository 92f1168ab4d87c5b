"""Whatever handlers do and whenever they are stopped: one ending for each assignment, or given back by `close`."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked import Context, Permanent
from acked_common.outcomes.outcome import Failed, Interrupted, InterruptReason, Succeeded, TimedOut
from support.executor import assignment, kind, open_bench

ENDINGS = (Succeeded, Failed, TimedOut, Interrupted)
TIMEOUTS_S = (0.001, 0.01, 30.0)


async def act(ctx: Context, payload: Any) -> Any:
    """An async handler that does what its payload says."""
    match payload:
        case "return":
            return ctx.id
        case "yield":
            await asyncio.sleep(0)
        case "nap":
            await asyncio.sleep(0.005)
        case "hang":
            await asyncio.sleep(60)
        case "swallow":
            for _ in range(3):
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    ctx.progress("swallowed")
        case "block":
            time.sleep(0.005)  # noqa: ASYNC251 - to block the loop is what is tested
        case "cancel-self":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        case _:
            fail(payload)
    return ctx.cancelled


def act_sync(ctx: Context, payload: Any) -> Any:
    """A sync handler that does what its payload says."""
    match payload:
        case "return" | "yield":
            return ctx.id
        case "nap" | "block" | "swallow":
            time.sleep(0.005)
        case "hang":
            while not ctx.cancelled:
                time.sleep(0.001)
        case _:
            fail(payload)
    return ctx.cancelled


def fail(payload: str) -> None:
    """Raise what a payload says."""
    errors = {
        "raise": ValueError("x"),
        "permanent": Permanent("x"),
        "exit": SystemExit(1),
        "generator": GeneratorExit(),
    }
    raise errors.get(payload, asyncio.CancelledError())


ACTS = ("return", "yield", "nap", "hang", "swallow", "block", "cancel-self", "raise", "permanent", "exit", "generator")
job = st.tuples(
    st.sampled_from(("async", "sync", "missing")),
    st.sampled_from(ACTS),
    st.sampled_from(TIMEOUTS_S),
    st.sampled_from((None, *InterruptReason)),
    st.floats(0, 0.01),
)


@settings(max_examples=40)
@given(jobs=st.lists(job, min_size=1, max_size=40), size=st.integers(1, 32))
async def test_each_assignment_has_one_ending(
    jobs: list[tuple[str, str, float, InterruptReason | None, float]], size: int
) -> None:
    async with open_bench() as bench:
        bench.start(kind("async", act), kind("sync", act_sync), threads=3, grace_s=0.02)
        loop = asyncio.get_running_loop()
        given_ = []
        for n, (where, what, timeout_s, reason, after_s) in enumerate(jobs):
            # Only what is stopped may hang: else the test would.
            bounded_s = 0.02 if what == "hang" and reason is None else timeout_s
            given_.append(assignment(where, id=str(n), payload=what, timeout_s=bounded_s))
            if reason is not None:
                loop.call_later(after_s, bench.executor.interrupt, str(n), 1, reason)
        for at in range(0, len(given_), size):
            bench.submit(*given_[at : at + size])
            await asyncio.sleep(0)
        for n, (*_, reason, _) in enumerate(jobs):
            if reason is not None:
                # Once more: the first may have come before the assignment.
                loop.call_later(0.03, bench.executor.interrupt, str(n), 1, reason)
        await bench.all_ended(len(given_))
        assert sorted(int(one.id) for one, _ in bench.endings) == list(range(len(given_)))
        assert bench.executor.running == 0
        for one, ending in bench.endings:
            assert isinstance(ending, ENDINGS)
            if isinstance(ending, Interrupted):
                assert ending.reason in (jobs[int(one.id)][3], InterruptReason.NOT_STARTED)
            if isinstance(ending, Succeeded) and one.payload == "return":
                assert ending.result_json == b'"%s"' % one.id.encode()


@pytest.mark.parametrize("seed", range(3))
async def test_what_close_gives_back_and_the_endings_are_all(seed: int) -> None:
    draw = random.Random(seed)
    release = threading.Event()
    async with open_bench() as bench:
        bench.start(kind("async", act), kind("sync", act_sync), threads=3, grace_s=0.02)
        given_ = [
            assignment(draw.choice(("async", "sync")), id=str(n), payload=draw.choice(ACTS), timeout_s=30.0)
            for n in range(200)
        ]
        bench.submit(*given_)
        await bench.all_ended(1)
        left = await bench.executor.close(0.2)
        release.set()
        ended = [one.id for one, _ in bench.endings]
        assert sorted(ended + [one.id for one in left], key=int) == [str(n) for n in range(200)]
        assert left
        assert ended
        before = len(bench.endings)
        await asyncio.sleep(0.05)
        assert len(bench.endings) == before
