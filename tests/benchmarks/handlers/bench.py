"""The benchmark's handlers: what the peers' do, with the kind that ships beside them."""

import asyncio
from datetime import datetime
from typing import Any

from acked import Context, Step, handler
from benchmarks.peers.marks import CHAIN, MARKS, STEPS, link, work

SLOW_S = 5.0


@handler("start")
async def start(ctx: Context, payload: dict[str, Any]) -> None:
    """Tells that it has started."""
    work("start", payload)


@handler("slow")
async def slow(ctx: Context, payload: dict[str, Any]) -> None:
    """Holds a slot, as a call of a slow API would."""
    await asyncio.sleep(SLOW_S)


async def _link(number: int) -> int:
    return link(number)


@handler("steps")
async def steps(ctx: Context, payload: dict[str, Any]) -> None:
    """A few steps that do nothing, one after the other."""
    for number in range(STEPS):
        await ctx.step(Step("link", key=number), _link, number)


@handler("chain")
async def chain(ctx: Context, payload: dict[str, Any]) -> None:
    """Tells its begin, when its ledger is open and its first step kept, and when all steps are kept."""
    MARKS.started(payload["number"])
    for number in range(CHAIN):
        await ctx.step(Step("link", key=number), _link, number)
        if not number:
            MARKS.started(payload["number"] + 1)
    MARKS.started(payload["number"] + 2)


@handler("sleeper")
async def sleeper(ctx: Context, payload: dict[str, Any]) -> None:
    """Sleeps until an instant; without one it does nothing, or tells that it has started."""
    if "until" in payload:
        await ctx.sleep("nap", until=datetime.fromisoformat(payload["until"]))
    elif "number" in payload:
        work("start", payload)


@handler("signalled")
async def signalled(ctx: Context, payload: dict[str, Any]) -> None:
    """Waits for a signal, and tells that it has come."""
    await ctx.wait_for("go")
    work("start", payload)
