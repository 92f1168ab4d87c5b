"""A handler that reports its progress. Copy it to the folder of handlers."""

import asyncio
from dataclasses import dataclass

from acked import Context, handler


@dataclass
class Report:
    """What a report covers."""

    rows: int


@handler("example.report", timeout_s=600)
async def report(ctx: Context, payload: Report) -> dict[str, int]:
    """Count the rows one by one; a real report reads them."""
    for done in range(payload.rows):
        ctx.progress(done / payload.rows, f"{done} of {payload.rows} rows")
        await asyncio.sleep(0.1)
    return {"rows": payload.rows}
