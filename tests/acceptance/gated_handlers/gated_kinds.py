"""A kind whose jobs a test holds back until all is in place."""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

from acked import Context, handler

LOOKS_EVERY_S = 0.1


@handler("test.gated")
async def gated(ctx: Context, payload: Any) -> None:
    """Waits until the file that `TEST_GATE` names is gone, then as `demo` does."""
    while Path(os.environ["TEST_GATE"]).exists():  # noqa: ASYNC110, ASYNC240 - of another process
        await asyncio.sleep(LOOKS_EVERY_S)
    await asyncio.sleep(random.uniform(0.0, 2.0))
