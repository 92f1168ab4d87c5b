"""Kinds that wait for signals."""

import asyncio
from pathlib import Path
from typing import Any

from acked import Context, handler

LOOK_EVERY_S = 0.02


def is_open(folder: str) -> bool:
    """Whether the test has let the step end."""
    return Path(folder, "gate").exists()


@handler("test.signalled", timeout_s=120, backoff_base_s=0.05, backoff_cap_s=0.1)
async def signalled(ctx: Context, payload: Any) -> list[list[Any]]:
    """Waits for a number of signals, one after the other, each for at most `within_s`."""
    found: list[list[Any]] = []
    for number in range(payload["count"]):
        signal = await ctx.wait_for("go", within_s=payload.get("within_s"), key=number)
        found.append([signal.id, signal.value, signal.seq])
    return found


@handler("test.signalled-later", timeout_s=60, backoff_base_s=0.05, backoff_cap_s=0.1)
async def signalled_later(ctx: Context, payload: Any) -> Any:
    """Waits for a signal behind a step that ends when a file exists."""

    async def gated() -> None:
        while not is_open(payload["folder"]):  # noqa: ASYNC110 - a test in another process sets no event
            await asyncio.sleep(LOOK_EVERY_S)

    await ctx.step("gated", gated)
    return (await ctx.wait_for("go")).value
