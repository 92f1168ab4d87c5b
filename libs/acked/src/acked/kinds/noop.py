"""`noop`: does nothing, as fast as possible; for measurements."""

from typing import Any

from acked import Context, handler


@handler("noop")
async def noop(ctx: Context, payload: Any) -> None:
    """Takes any payload; the result is null."""
