"""A handler that calls an API with a limit of its own. Copy it to the folder of handlers."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from acked import Context, Permanent, RetryLater, handler

API = os.environ.get("PAYMENTS_URL", "http://localhost:9000")
LATER_S = 10.0
"""The wait where the API names none."""
LONGEST_S = 3600.0


@dataclass
class Charge:
    """What is paid, and for what."""

    order: str
    amount: int


@handler("example.charge", timeout_s=30, max_attempts=20)
async def charge(ctx: Context, payload: Charge) -> Any:
    """Charge an order. A 429 or 503 delays the next attempt by what the API asks for."""
    body = {"order": payload.order, "amount": payload.amount}
    # An attempt may be repeated; the API recognizes the second request by its key.
    headers = {"Idempotency-Key": ctx.idempotency_key}
    async with aiohttp.ClientSession() as client, client.post(f"{API}/charges", json=body, headers=headers) as response:
        if response.status in (429, 503):
            raise RetryLater(wait_s(response.headers.get("Retry-After")), f"the API responded {response.status}")
        if 400 <= response.status < 500:
            raise Permanent(f"the API responded {response.status}", type="refused")
        response.raise_for_status()
        return await response.json()


def wait_s(retry_after: str | None) -> float:
    """Return the seconds of a `Retry-After`, which is a number or a date (RFC 9110, section 10.2.3)."""
    try:
        found = float(retry_after or LATER_S)
    except ValueError:
        try:
            found = (parsedate_to_datetime(retry_after or "") - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            found = LATER_S
    return min(max(found, 0.0), LONGEST_S)
