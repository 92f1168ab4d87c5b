"""A kind whose handler writes when it runs, for tests of limits: the system's monotonic clock, shared by processes."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from acked import Context, handler


def _write(folder: str, *words: object) -> None:
    line = " ".join(map(str, words)) + "\n"
    # One write of a short line that is appended is atomic.
    file = os.open(Path(folder) / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@handler("test.export", timeout_s=3600.0, max_attempts=5, timeout_limit_s=366 * 86_400.0)
async def export(ctx: Context, payload: Any) -> None:
    """Runs for as long as asked, or parks first, or fails once."""
    if (name := payload.get("awaits")) is not None:
        await ctx.wait_for(name)
    tenant, folder = payload["tenant"], payload["folder"]
    _write(folder, "begin", tenant, ctx.id, os.getpid(), time.monotonic())
    try:
        if payload.get("fails") and not ctx.failures:
            raise ValueError("the provider refused")
        await asyncio.sleep(payload["seconds"])
    finally:
        _write(folder, "end", tenant, ctx.id, os.getpid(), time.monotonic())
