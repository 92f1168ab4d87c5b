"""Kinds that the acceptance tests use, written as any user writes handlers."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

from acked import Context, Permanent, RetryLater, handler

FOREVER_S = 600.0
# A thread can't be ended: it has to come back before its worker has none left.
TOO_LONG_S = 20.0


@handler("test.echo")
async def echo(ctx: Context, payload: Any) -> dict[str, Any]:
    """Returns what a handler is told."""
    return {
        "payload": payload,
        "kind": ctx.kind,
        "run": ctx.run,
        "attempt": ctx.attempt,
        "batch": ctx.batch,
        "tags": list(ctx.tags),
        "idempotency_key": ctx.idempotency_key,
        "remaining_s": ctx.remaining_s,
    }


@handler("test.fails", max_attempts=3, backoff_base_s=0.05, backoff_cap_s=0.1)
async def fails(ctx: Context, payload: Any) -> None:
    """Fails each time."""
    raise ValueError(f"attempt {ctx.attempt} went wrong")


@handler("test.spills", max_attempts=1)
async def spills(ctx: Context, payload: Any) -> None:
    """Fails with what it was sent in its words."""
    ctx.progress(payload)
    raise ValueError(f"can't do {payload!r}")


@handler("test.permanent", max_attempts_limit=10)
async def permanent(ctx: Context, payload: Any) -> None:
    """Fails for good."""
    raise Permanent("the card was declined", type="card-declined")


@handler("test.later", backoff_base_s=0.01, backoff_cap_s=0.01)
async def later(ctx: Context, payload: Any) -> float:
    """Asks to be tried again `{"after_s": x}` later, once."""
    if not ctx.failures:
        raise RetryLater(payload["after_s"], "the outside API asked us to slow down")
    return float(payload["after_s"])


@handler("test.steps")
async def steps(ctx: Context, payload: Any) -> str:
    """Reports two steps; the second is the last word before it waits for its cancel."""
    ctx.progress(0.25, "1 of 4 pages")
    ctx.progress({"page": 2, "of": 4})
    await asyncio.sleep(FOREVER_S)
    return "not reached"


@handler("test.hangs")
async def hangs(ctx: Context, payload: Any) -> None:
    """Waits for what never comes."""
    await asyncio.Event().wait()


@handler("test.hangs-in-thread")
def hangs_in_thread(ctx: Context, payload: Any) -> None:
    """Waits in a thread for much longer than it may, and never asks whether it should stop."""
    threading.Event().wait(TOO_LONG_S)


@handler("test.blocks-loop")
async def blocks_loop(ctx: Context, payload: Any) -> float:
    """What no handler should do: keeps the loop of all async handlers for `{"seconds": x}`."""
    started = time.monotonic()
    time.sleep(payload["seconds"])  # noqa: ASYNC251 - the mistake under test
    return time.monotonic() - started


@handler("test.thread")
def in_thread(ctx: Context, payload: Any) -> dict[str, Any]:
    """Runs where a plain function runs."""
    ctx.log.info("in a thread")
    return {"main": threading.current_thread() is threading.main_thread(), "thread": threading.get_native_id()}


@handler("test.quarter")
def quarter(ctx: Context, payload: Any) -> None:
    """Keeps its thread for a quarter of a second."""
    time.sleep(0.25)


@handler("test.meets")
def meets(ctx: Context, payload: Any) -> bool:
    """Waits until `{"parties": n}` such jobs run at the same time."""
    with _barriers_lock:
        barrier = _barriers.setdefault(payload["name"], threading.Barrier(payload["parties"]))
    barrier.wait(20.0)
    return True


_barriers: dict[str, threading.Barrier] = {}
_barriers_lock = threading.Lock()


@handler("test.looks")
def looks(ctx: Context, payload: Any) -> str:
    """A plain function that looks at `ctx.cancelled` and tells so in the file that it was given."""
    while not ctx.cancelled:
        time.sleep(0.01)
    Path(payload["file"]).write_text("asked to stop")
    return "too late to be recorded"
