"""A Celery application of ten tasks: `celery -A tasks worker -B`. docs/from-celery.md moves it to Acked.

`SHOP_LOG` is a file that gets one line for each effect; a real shop sends mails and charges cards instead.
"""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task

app = Celery(
    "shop",
    broker=os.environ.get("BROKER_URL", "amqp://localhost"),
    backend=os.environ.get("RESULTS_URL", "mongodb://localhost/shop"),
)
app.conf.update(
    broker_connection_timeout=60,
    broker_connection_retry_on_startup=True,
    beat_schedule={"heartbeat": {"task": "heartbeat", "schedule": 1.0}},
)
LOG = Path(os.environ.get("SHOP_LOG", "shop.log"))


class PaymentDeclined(Exception):
    """The bank said no, this time."""


def note(effect: str) -> None:
    """Record that something was done."""
    with LOG.open("a") as log:
        log.write(f"{effect}\n")


@app.task(name="quote")
def quote(prices: list[int]) -> int:
    """Return a result."""
    return sum(prices)


@app.task(
    name="charge", bind=True, autoretry_for=(PaymentDeclined,), retry_backoff=1, retry_backoff_max=1, max_retries=3
)
def charge(self: Task, order: str, declines: int) -> dict[str, Any]:
    """Retry with back-off: the bank declines some times first."""
    if self.request.retries < declines:
        raise PaymentDeclined(order)
    note(f"charged {order}")
    return {"order": order, "attempts": self.request.retries + 1}


@app.task(name="remind")
def remind(order: str) -> None:
    """Run after a countdown."""
    note(f"reminded {order}")


@app.task(name="resize")
def resize(image: str) -> int:
    """Resize one image of a group, and return its size."""
    if image == "broken":
        raise ValueError("not an image")
    return len(image)


@app.task(name="contact_sheet")
def contact_sheet(sizes: list[int]) -> int:
    """Join a chord: the sizes come from `resize`."""
    return sum(sizes)


@app.task(name="visit", ignore_result=True)
def visit(page: str) -> None:
    """Keep no result."""
    note(f"visited {page}")


@app.task(name="offer")
def offer(order: str, seconds: float) -> None:
    """Start only while the offer is valid."""
    note(f"offered {order}")
    time.sleep(seconds)


@app.task(name="export")
def export(name: str, seconds: float) -> str:
    """Run for long, until it is revoked."""
    note(f"exporting {name}")
    time.sleep(seconds)
    note(f"exported {name}")
    return name


@app.task(name="render", soft_time_limit=1, time_limit=5)
def render(seconds: float) -> float:
    """Stop at a time limit."""
    time.sleep(seconds)
    return seconds


@app.task(name="heartbeat", ignore_result=True)
def heartbeat() -> None:
    """Run every second."""
    note("heartbeat")
