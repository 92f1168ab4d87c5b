"""Kinds with durable calls; each step writes its key to a file, so that tests see which step ran how often."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from acked import BlockingContext, Context, handler
from acked.durable import Retry, Step, StepFailed

LOOK_EVERY_S = 0.02


def note(ctx: Context | BlockingContext, folder: str) -> str:
    """Append the key of the step and its attempt to a file, and return the key."""
    with Path(folder, "steps").open("a") as file:
        file.write(f"{ctx.step_key} {ctx.attempt}\n")
        file.flush()
        os.fsync(file.fileno())
    return ctx.step_key


def is_open(folder: str, gate: str) -> bool:
    """Whether the test has let the handler go on."""
    return Path(folder, gate).exists()


def gated(ctx: Context, folder: str, gate: str) -> Callable[[], Awaitable[str]]:
    """Return a step that says that it has begun, and ends when a file exists."""

    async def run() -> str:
        key = note(ctx, folder)
        while not is_open(folder, gate):  # noqa: ASYNC110 - a test in another process sets no event
            await asyncio.sleep(LOOK_EVERY_S)
        return key

    return run


@handler("test.durable", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def durable(ctx: Context, payload: Any) -> list[str]:
    """Makes three steps, a gather, and a sleep that parks; the second step waits for a gate."""
    folder = payload["folder"]

    async def step() -> str:
        return note(ctx, folder)

    keys = [await ctx.step("first", step)]
    keys.append(await ctx.step("gated", gated(ctx, folder, "gate")))
    keys += await ctx.gather(*[ctx.step(Step("part", key=n), step) for n in range(3)])
    await ctx.sleep("rest", payload["sleep_s"])
    keys.append(await ctx.step("last", step))
    return keys


@handler("test.durable-thread", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
def durable_thread(ctx: BlockingContext, payload: Any) -> list[str]:
    """Does the same in a thread."""
    folder = payload["folder"]

    def step() -> str:
        return note(ctx, folder)

    keys = [ctx.step("first", step)]
    ctx.sleep("rest", payload["sleep_s"])
    keys.append(ctx.step("last", step))
    return keys


@handler("test.durable-chain", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def durable_chain(ctx: Context, payload: Any) -> list[str]:
    """Makes steps one after the other."""

    async def step() -> str:
        return note(ctx, payload["folder"])

    return [await ctx.step(Step("link", key=number), step) for number in range(payload["steps"])]


@handler("test.durable-stall", timeout_s=120, backoff_base_s=0.05, backoff_cap_s=0.1)
async def durable_stall(ctx: Context, payload: Any) -> str:
    """Makes steps until a gate exists, so that a stalled worker is inside of one."""
    folder = payload["folder"]

    async def step() -> str:
        key = note(ctx, folder)
        await asyncio.sleep(0.05)
        return key

    number = 0
    while not is_open(folder, "gate"):
        await ctx.step(Step("tick", key=number), step)
        number += 1
    return str(number)


@handler("test.durable-failing", timeout_s=60, max_attempts=2, backoff_base_s=0.05, backoff_cap_s=0.1)
async def durable_failing(ctx: Context, payload: Any) -> int:
    """Fails behind each of many steps, so that each attempt makes progress before it fails."""

    async def step() -> int:
        return ctx.attempt

    for number in range(payload["steps"]):
        made = await ctx.step(Step("progress", key=number), step)
        if made == ctx.attempt:
            raise ValueError("it broke behind a step")
    return ctx.attempt


@handler("test.sleeps", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def sleeps(ctx: Context, payload: Any) -> list[str]:
    """Sleeps twice between two steps."""
    folder = payload["folder"]

    async def step() -> str:
        return note(ctx, folder)

    keys = [await ctx.step("first", step)]
    await ctx.sleep("rest", payload["sleep_s"])
    await ctx.sleep("rest-again", payload["sleep_s"])
    keys.append(await ctx.step("last", step))
    return keys


@handler("test.sleeps-beside-signal", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def sleeps_beside_signal(ctx: Context, payload: Any) -> Any:
    """Sleeps, and waits for a signal at the same time."""
    _, signal = await ctx.gather(ctx.sleep("rest", payload["sleep_s"]), ctx.wait_for("go"))
    return signal.value


@handler("test.tries", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def tries(ctx: Context, payload: Any) -> str:
    """Fails a step three times, and waits for a signal with an end."""

    async def charge() -> None:
        raise ValueError(payload["text"])

    try:
        await ctx.step(Step("charge", key=payload["text"], retry=Retry(3, base_s=0.01, cap_s=0.02)), charge)
    except StepFailed:
        await ctx.note("refused", True)
    return str((await ctx.first("paid-or-late", paid=ctx.signal("paid"), late=ctx.timer(days=14)))[0])
