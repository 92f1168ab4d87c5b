"""Kinds with durable calls: each step leaves a line when it begins and ends, and its result says which try made it.

A job takes the signals `go` that its clients send, `{"signals": n}` of them, with steps and waits in between.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from acked import BlockingContext, Context, Step, handler

LONGEST_S = 3_600.0
PADDING = "x" * 2_000
"""Makes a result so large that its entry stands in a part."""


class StepLine:
    """The lines of one try of a step."""

    def __init__(self, ctx: Context | BlockingContext) -> None:
        self._line = {"id": ctx.id, "step": ctx.step_key, "attempt": ctx.attempt, "mark": uuid4().hex}
        self._write("begin")

    def end(self, padding: str = "") -> dict[str, Any]:
        """Write that the step has ended, and return its result."""
        self._write("ended")
        return {
            "step": self._line["step"],
            "attempt": self._line["attempt"],
            "mark": self._line["mark"],
            "pad": padding,
        }

    def _write(self, what: str) -> None:
        line = {**self._line, "what": what, "pid": os.getpid(), "at": time.time()}
        os.write(_descriptor(), json.dumps(line).encode() + b"\n")


@handler("fault.durable", timeout_s=LONGEST_S, backoff_base_s=0.1, backoff_cap_s=0.5)
async def durable(ctx: Context, payload: Any) -> dict[str, Any]:
    """Makes steps of `{"seconds": x}` between waits that park."""

    async def step(padding: str = "") -> dict[str, Any]:
        line = StepLine(ctx)
        await asyncio.sleep(payload["seconds"])
        return line.end(padding)

    steps, signals = [await ctx.step("first", step)], []
    for number in range(payload["signals"]):
        signal = await ctx.wait_for("go", key=number)
        signals.append([signal.id, signal.value, signal.seq])
        steps.append(await ctx.step(Step("then", key=number), step))
    steps += await ctx.gather(*[ctx.step(Step("part", key=number), step, PADDING) for number in range(3)])
    return {"signals": signals, "steps": steps}


@handler("fault.rests", timeout_s=LONGEST_S, backoff_base_s=0.1, backoff_cap_s=0.5)
def rests(ctx: BlockingContext, payload: Any) -> dict[str, Any]:
    """Makes quick steps in a thread, and sleeps `{"seconds": x}` between them: more than a second parks."""

    def step(padding: str = "") -> dict[str, Any]:
        return StepLine(ctx).end(padding)

    steps, signals = [ctx.step("first", step)], []
    ctx.sleep("rest", payload["seconds"])
    for number in range(payload["signals"]):
        signal = ctx.wait_for("go", key=number)
        signals.append([signal.id, signal.value, signal.seq])
    ctx.sleep("rest-again", payload["seconds"])
    steps.append(ctx.step("last", step, PADDING))
    return {"signals": signals, "steps": steps}


def _descriptor() -> int:
    if not _opened:
        path = Path(os.environ["FAULTS_EFFECTS"]).with_name("steps.jsonl")
        _opened.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    return _opened[0]


_opened: list[int] = []
