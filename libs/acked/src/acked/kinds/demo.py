"""`demo`: simulates work by sleeping."""

import asyncio
import random
from typing import Any

from acked import Context, Permanent, handler
from acked.kinds import MOST_ATTEMPTS, MOST_TIMEOUT_S

LONGEST_S = 86_400.0


@handler("demo", timeout_s=LONGEST_S + 3_600.0, timeout_limit_s=MOST_TIMEOUT_S, max_attempts_limit=MOST_ATTEMPTS)
async def demo(ctx: Context, payload: Any) -> dict[str, float]:
    """Sleep `{"seconds": x}` (0 to 86,400); for any other payload a random time up to 2 s."""
    seconds = _seconds(payload)
    await asyncio.sleep(seconds)
    return {"slept_s": round(seconds, 3)}


def _seconds(payload: Any) -> float:
    if not isinstance(payload, dict) or "seconds" not in payload:
        return random.uniform(0.0, 2.0)
    seconds = payload["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_S:
        raise Permanent(f'"seconds" must be a number from 0 to {LONGEST_S:.0f}', type="bad-payload")
    return float(seconds)
