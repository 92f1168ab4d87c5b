"""Kinds of the fault tests, written as any user writes handlers: each effect leaves a line when it begins and ends.

The lines go to the file of `FAULTS_EFFECTS`, opened to append: short writes of several processes never mix.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acked import Context, Permanent, RetryLater, handler

LONGEST_S = 3_600.0
GATE_LOOKS_S = 0.2


@contextmanager
def effect(ctx: Context) -> Iterator[None]:
    """What a handler does to the world, as far as the ledger can see."""
    _write("begin", ctx)
    try:
        yield
    except BaseException:
        _write("stopped", ctx)
        raise
    _write("ended", ctx)


def answer(ctx: Context) -> dict[str, Any]:
    """Tells which attempt this result is of."""
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@handler("fault.work", timeout_s=LONGEST_S)
async def work(ctx: Context, payload: Any) -> dict[str, Any]:
    """Takes `{"seconds": x}`, and until the file `{"gate": path}` is gone."""
    with effect(ctx):
        while "gate" in payload and Path(payload["gate"]).exists():  # noqa: ASYNC110, ASYNC240 - of another process
            await asyncio.sleep(GATE_LOOKS_S)
        await asyncio.sleep(payload["seconds"])
    return answer(ctx)


@handler("fault.thread", timeout_s=LONGEST_S)
def thread(ctx: Context, payload: Any) -> dict[str, Any]:
    """Takes `{"seconds": x}` in a thread."""
    with effect(ctx):
        time.sleep(payload["seconds"])
    return answer(ctx)


@handler("fault.blocks", timeout_s=LONGEST_S)
async def blocks(ctx: Context, payload: Any) -> dict[str, Any]:
    """The mistake that no handler should make: blocks the loop of all for `{"seconds": x}`."""
    with effect(ctx):
        time.sleep(payload["seconds"])  # noqa: ASYNC251 - the mistake under test
    return answer(ctx)


@handler("fault.hangs", timeout_s=2.0, max_attempts=1)
async def hangs(ctx: Context, payload: Any) -> None:
    """Never ends, and does not let itself be cancelled."""
    with effect(ctx):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue


@handler("fault.hangs-in-thread", timeout_s=2.0, max_attempts=1)
def hangs_in_thread(ctx: Context, payload: Any) -> None:
    """Hangs in a thread for `{"seconds": x}`, much longer than it may, and never asks."""
    with effect(ctx):
        threading.Event().wait(payload["seconds"])


@handler("fault.fails", timeout_s=LONGEST_S)
async def fails(ctx: Context, payload: Any) -> dict[str, Any]:
    """Fails for good in its first run, and takes `{"seconds": x}` in any other."""
    with effect(ctx):
        if ctx.run == 1:
            raise Permanent("the first run fails")
        await asyncio.sleep(payload["seconds"])
    return answer(ctx)


@handler("fault.backs-off", timeout_s=LONGEST_S)
async def backs_off(ctx: Context, payload: Any) -> dict[str, Any]:
    """Backs off for an hour once, and takes `{"seconds": x}` then."""
    with effect(ctx):
        if ctx.failures == 0:
            raise RetryLater(LONGEST_S, "not before an hour, unless an operator says so")
        await asyncio.sleep(payload["seconds"])
    return answer(ctx)


def _write(what: str, ctx: Context) -> None:
    line = {"what": what, "id": ctx.id, "attempt": ctx.attempt, "pid": os.getpid(), "at": time.time()}
    os.write(_descriptor(), json.dumps(line).encode() + b"\n")


def _descriptor() -> int:
    if not _opened:
        _opened.append(os.open(os.environ["FAULTS_EFFECTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    return _opened[0]


_opened: list[int] = []
