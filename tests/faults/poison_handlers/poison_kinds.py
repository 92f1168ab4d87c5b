"""Kinds of the tests of poison and of paused workers, written as any user writes handlers."""

import asyncio
import os
import time
from typing import Any

from acked import Context, handler


@handler("poison.exits")
async def exits(ctx: Context, payload: Any) -> None:
    """Ends its process each time, after `{"after_s": x}`."""
    await asyncio.sleep(payload["after_s"])
    os._exit(1)


@handler("poison.steps")
async def steps(ctx: Context, payload: Any) -> dict[str, int]:
    """Makes `{"steps": n}` steps, each a line in the file: id, attempt, process, when on the clock of the machine."""
    ledger = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        for _ in range(payload["steps"]):
            line = f"{ctx.id} {ctx.attempt} {os.getpid()} {time.clock_gettime(time.CLOCK_BOOTTIME)}\n"
            os.write(ledger, line.encode())
            await asyncio.sleep(payload["pause_s"])
    finally:
        os.close(ledger)
    return {"attempt": ctx.attempt, "pid": os.getpid()}
