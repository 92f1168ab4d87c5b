"""The benchmark's handlers: what the peers' do, with the kind that ships beside them."""

import asyncio
from typing import Any

from acked import Context, handler
from benchmarks.peers.marks import work

SLOW_S = 5.0


@handler("start")
async def start(ctx: Context, payload: dict[str, Any]) -> None:
    """Tells that it has started."""
    work("start", payload)


@handler("slow")
async def slow(ctx: Context, payload: dict[str, Any]) -> None:
    """Holds a slot, as a call of a slow API would."""
    await asyncio.sleep(SLOW_S)


def waits(run_ms: int) -> None:
    """Makes a kind, with a lane of its own, whose jobs take so long."""

    @handler(f"wait_{run_ms}")
    async def wait(ctx: Context, payload: dict[str, Any]) -> None:
        """Tells that it has started, and waits as for a slow API."""
        work("start", payload)
        await asyncio.sleep(run_ms / 1e3)


for each in (10, 120, 500):
    waits(each)
