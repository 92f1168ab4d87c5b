"""The benchmark's handlers: what the peers' do, with the kind that ships beside them."""

from typing import Any

from acked import Context, handler
from benchmarks.peers.marks import work


@handler("start")
async def start(ctx: Context, payload: dict[str, Any]) -> None:
    """Tells that it has started."""
    work("start", payload)
