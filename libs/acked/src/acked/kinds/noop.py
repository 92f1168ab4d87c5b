"""`noop`: does nothing, as fast as possible; for measurements."""

from typing import Any

from acked import Context, handler
from acked.kinds import MOST_ATTEMPTS, MOST_TIMEOUT_S


@handler("noop", timeout_limit_s=MOST_TIMEOUT_S, max_attempts_limit=MOST_ATTEMPTS)
async def noop(ctx: Context, payload: Any) -> None:
    """Accept any payload and return null."""
