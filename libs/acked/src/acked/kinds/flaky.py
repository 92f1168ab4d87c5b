"""`flaky`: fails a given number of times, then succeeds; demonstrates retries and back-off."""

from typing import Any

from acked import Context, Permanent, handler
from acked.kinds import MOST_ATTEMPTS, MOST_TIMEOUT_S

MOST_FAILURES = 1_000


class FlakyError(Exception):
    """A requested failure."""


@handler("flaky", timeout_limit_s=MOST_TIMEOUT_S, max_attempts_limit=MOST_ATTEMPTS)
async def flaky(ctx: Context, payload: Any) -> dict[str, int]:
    """Fail `{"failures": n}` times (0 to 1,000; default 1), counted per run."""
    wanted = _wanted(payload)
    if ctx.failures < wanted:
        raise FlakyError(f"failure {ctx.failures + 1} of {wanted}, as requested")
    return {"failures": wanted}


def _wanted(payload: Any) -> int:
    wanted = payload.get("failures", 1) if isinstance(payload, dict) else 1
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= MOST_FAILURES:
        raise Permanent(f'"failures" must be an integer from 0 to {MOST_FAILURES}', type="bad-payload")
    return wanted
