"""What the shop calls, with Acked. The module of the same name in celery_app does the same with Celery."""

import os
from typing import Any
from uuid import uuid4

from acked_client import Acked, StillRunning, Submission

CALLS = (
    *("quote", "charge", "remind", "resize_all", "contact_sheet", "visit", "offer", "export", "render"),
    *("outcome", "cancel"),
)
acked = Acked(os.environ.get("GATEWAY", "http://localhost:8080"))


def quote(prices: list[int]) -> str:
    """Start a job and return its id."""
    return acked.submit("shop.quote", prices).id


def charge(order: str, declines: int) -> str:
    """Start a job that is retried. Its key makes a second charge of the order the same job."""
    key = f"charge-{order}"
    return acked.submit("shop.charge", {"order": order, "declines": declines}, idempotency_key=key).id


def remind(order: str, in_s: float) -> str:
    """Start a job later."""
    return acked.submit("shop.remind", {"order": order}, delay_s=in_s).id


def resize_all(images: list[str]) -> list[str]:
    """Start a batch and return the ids of its jobs."""
    batch = f"resize-{uuid4().hex}"
    rows = [Submission(kind="shop.resize", payload=image, batch=batch) for image in images]
    ids = []
    for row in acked.submit_many(rows, key_prefix=batch):
        if row.job is None:
            raise RuntimeError(f"image {images[row.index]} is refused") from row.error
        ids.append(row.job.id)
    return ids


def contact_sheet(images: list[str]) -> str:
    """Start the one job that resizes and joins."""
    return acked.submit("shop.contact-sheet", images).id


def visit(page: str) -> str:
    """Start a job without a result."""
    return acked.submit("shop.visit", page).id


def offer(order: str, seconds: float, valid_s: float) -> str:
    """Start a job that expires."""
    return acked.submit("shop.offer", {"order": order, "seconds": seconds}, expires_in_s=valid_s).id


def export(name: str, seconds: float) -> str:
    """Start a long job."""
    return acked.submit("shop.export", {"name": name, "seconds": seconds}).id


def render(seconds: float) -> str:
    """Start a job with a time limit."""
    return acked.submit("shop.render", seconds).id


def outcome(task_id: str, timeout_s: float) -> dict[str, Any]:
    """Wait for the end of a job, and return its state, result and error."""
    try:
        job = acked.job(task_id).wait(timeout_s)
    except StillRunning:
        return {"state": "unknown", "result": None, "error": None}
    if job.reason == "expired":
        return {"state": "expired", "result": None, "error": None}
    error = job.error.type if job.state == "failed" and job.error is not None else None
    return {"state": job.state, "result": job.result, "error": error}


def cancel(task_id: str) -> None:
    """Stop a job, also while it runs."""
    acked.job(task_id).cancel()
