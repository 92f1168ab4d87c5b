"""What the shop calls, with Celery. The module of the same name in celery_twin does the same with Acked."""

from typing import Any

import tasks
from celery import chord, group
from celery.exceptions import TimeoutError as NotYet

CALLS = (
    *("quote", "charge", "remind", "resize_all", "contact_sheet", "visit", "offer", "export", "render"),
    *("outcome", "cancel"),
)
ENDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "cancelled"}


def quote(prices: list[int]) -> str:
    """Start a task and return its id."""
    return str(tasks.quote.delay(prices).id)


def charge(order: str, declines: int) -> str:
    """Start a task that is retried."""
    return str(tasks.charge.delay(order, declines).id)


def remind(order: str, in_s: float) -> str:
    """Start a task later."""
    return str(tasks.remind.apply_async((order,), countdown=in_s).id)


def resize_all(images: list[str]) -> list[str]:
    """Start a group and return the ids of its members."""
    started = group(tasks.resize.s(image) for image in images).apply_async()
    return [str(member.id) for member in started.children]


def contact_sheet(images: list[str]) -> str:
    """Start a chord and return the id of its callback."""
    return str(chord(tasks.resize.s(image) for image in images)(tasks.contact_sheet.s()).id)


def visit(page: str) -> str:
    """Start a task without a result."""
    return str(tasks.visit.delay(page).id)


def offer(order: str, seconds: float, valid_s: float) -> str:
    """Start a task that expires."""
    return str(tasks.offer.apply_async((order, seconds), expires=valid_s).id)


def export(name: str, seconds: float) -> str:
    """Start a long task."""
    return str(tasks.export.delay(name, seconds).id)


def render(seconds: float) -> str:
    """Start a task with a time limit."""
    return str(tasks.render.delay(seconds).id)


def outcome(task_id: str, timeout_s: float) -> dict[str, Any]:
    """Wait for the end of a task, and return its state, result and error."""
    task = tasks.app.AsyncResult(task_id)
    try:
        value = task.get(timeout=timeout_s, propagate=False, interval=0.1)
    except NotYet:
        return {"state": "unknown", "result": None, "error": None}
    if task.state == "REVOKED" and str(value) == "expired":
        return {"state": "expired", "result": None, "error": None}
    is_done = task.state == "SUCCESS"
    error = type(value).__name__ if task.state == "FAILURE" else None
    return {"state": ENDS[task.state], "result": value if is_done else None, "error": error}


def cancel(task_id: str) -> None:
    """Stop a task, also while it runs."""
    tasks.app.AsyncResult(task_id).revoke(terminate=True)
