"""The ten tasks of celery_app/tasks.py as handlers. Copy this file to the folder of handlers."""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acked import BlockingContext, Context, Permanent, Step, handler

LOG = Path(os.environ.get("SHOP_LOG", "shop.log"))


class PaymentDeclined(Exception):
    """The bank said no, this time."""


def note(effect: str) -> None:
    """Record that something was done."""
    with LOG.open("a") as log:
        log.write(f"{effect}\n")


@dataclass
class Order:
    """An order that a customer is reminded of."""

    order: str


@dataclass
class Charge:
    """An order, and how often the bank declines it."""

    order: str
    declines: int


@dataclass
class Offer:
    """An order that is offered, and how long that takes."""

    order: str
    seconds: float


@dataclass
class Export:
    """What is exported, and how long that takes."""

    name: str
    seconds: float


@handler("shop.quote")
async def quote(ctx: Context, payload: list[int]) -> int:
    """Return a result."""
    return sum(payload)


# Celery counts retries; Acked counts attempts, the first among them.
@handler("shop.charge", max_attempts=4, backoff_base_s=1, backoff_cap_s=1)
async def charge(ctx: Context, payload: Charge) -> dict[str, Any]:
    """Retry with back-off: any exception does that."""
    if ctx.failures < payload.declines:
        raise PaymentDeclined(payload.order)
    note(f"charged {payload.order}")
    return {"order": payload.order, "attempts": ctx.failures + 1}


@handler("shop.remind")
async def remind(ctx: Context, payload: Order) -> None:
    """Run after `delay_s`."""
    note(f"reminded {payload.order}")


@handler("shop.resize")
async def resize(ctx: Context, payload: str) -> int:
    """Resize one image of a batch, and return its size."""
    return size_of(payload)


@handler("shop.contact-sheet")
async def contact_sheet(ctx: Context, payload: list[str]) -> int:
    """Do a chord as steps of one job: each is kept once it is done, and the last line runs when all are."""
    images = [ctx.step(Step("resize", key=image), size_of, image) for image in payload]
    return sum(await ctx.gather(*images))


def size_of(image: str) -> int:
    """Return the size of an image. `Permanent`, because a second attempt finds the same."""
    if image == "broken":
        raise Permanent("not an image", type="bad-image")
    return len(image)


@handler("shop.visit")
async def visit(ctx: Context, payload: str) -> None:
    """Return nothing, so that no result is kept."""
    note(f"visited {payload}")


@handler("shop.offer")
def offer(ctx: BlockingContext, payload: Offer) -> None:
    """Start only if a worker is free within `expires_in_s`."""
    note(f"offered {payload.order}")
    time.sleep(payload.seconds)


@handler("shop.export")
def export(ctx: BlockingContext, payload: Export) -> str:
    """Run for long, in a thread, and look whether it is cancelled: nothing can interrupt a thread."""
    note(f"exporting {payload.name}")
    end = time.monotonic() + payload.seconds
    while time.monotonic() < end and not ctx.cancelled:
        time.sleep(0.05)
    if not ctx.cancelled:
        note(f"exported {payload.name}")
    return payload.name


@handler("shop.render", timeout_s=1, max_attempts=1)
async def render(ctx: Context, payload: float) -> float:
    """Stop at a time limit; with one attempt, it fails then."""
    await asyncio.sleep(payload)
    return payload


@handler("shop.heartbeat")
async def heartbeat(ctx: Context, payload: Any) -> None:
    """Run every second."""
    note("heartbeat")
