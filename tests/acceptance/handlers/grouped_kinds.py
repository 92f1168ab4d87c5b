"""Kinds that fail, each for a reason of its own, with messages that are never the same twice."""

import random
import uuid
from typing import Any

from acked import Context, handler

AT_ONCE = {"max_attempts": 1}


@handler("test.customer", **AT_ONCE)
async def customer(ctx: Context, payload: Any) -> None:
    """Fails at one of two lines, with messages alike."""
    message = f"no customer {random.randrange(10**9)} in {uuid.uuid4()}"
    if payload.get("elsewhere"):
        raise LookupError(message) from None
    raise LookupError(message)


@handler("test.amount", **AT_ONCE)
async def amount(ctx: Context, payload: Any) -> None:
    """Fails with a number and a quoted text."""
    raise ValueError(f"amount {random.random() * 1000:.2f} of '{uuid.uuid4().hex}' is too large")


@handler("test.fetch", **AT_ONCE)
def fetch(ctx: Context, payload: Any) -> None:
    """Fails with a URL, in a thread."""
    url = f"https://example.com/orders/{random.randrange(10**6)}?key={uuid.uuid4().hex}"
    raise ConnectionError(f"{url} gave 0x{random.randrange(2**40):x}")


@handler("test.mended", **AT_ONCE)
async def mended(ctx: Context, payload: Any) -> str:
    """Fails in the first run with the message of its payload; the runs behind it succeed, as after a correction."""
    if ctx.run == 1:
        raise RuntimeError(payload["message"])
    return "mended"
