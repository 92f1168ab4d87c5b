"""Jobs a second of one client process: single calls, several at once, beside many rows in one request."""

import asyncio
import time
from collections import defaultdict

from acked_client import AsyncAcked, Submission
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "many"
COLUMNS = {"accepted": "jobs/s"}
AT_ONCE = 32
SINGLES, ROWS = 1_000, 10_000
_SINGLE, _MANY = f"submit, {AT_ONCE} at once", f"submit_many, {ROWS:,} rows"


def measure(bench: Bench) -> FigureResult:
    """The figure. Both ways take turns; this process is the client."""
    ours = bench.ours
    ours.wake()
    values: dict[str, list[float]] = defaultdict(list)
    try:
        for _ in range(bench.plan.rounds):
            single, many = asyncio.run(_round(bench))
            values[_SINGLE].append(single)
            values[_MANY].append(many)
            ours.empty()
    finally:
        bench.leave(ours)
    result = FigureResult(NAME, "One client process: single calls, and many rows in a request", COLUMNS)
    single_, many_ = (Spread(tuple(values[name])) for name in (_SINGLE, _MANY))
    of_it = ratio(many_, single_)
    result.rows += [Row(_SINGLE, {"accepted": single_}, None), Row(_MANY, {"accepted": many_}, None)]
    result.judged = judged([(Bar("rows of one request ÷ single calls", Side.AT_LEAST, 3), of_it)])
    result.notes.append(
        "No-op jobs through `acked_client` in asyncio, each with an idempotency key; all workers are stopped, tokens "
        "and rates are on. Single calls are bound by what the client spends on each."
    )
    return result


async def _round(bench: Bench) -> tuple[float, float]:
    ours = bench.ours
    at_once = asyncio.Semaphore(AT_ONCE)
    gateway, intake = f"http://127.0.0.1:{ours.gateway_port}", f"http://127.0.0.1:{ours.port}"
    async with AsyncAcked(gateway, intake=intake, token=ours.token) as acked:

        async def submit() -> None:
            async with at_once:
                await acked.submit("noop")

        await submit()
        began = time.perf_counter()
        await asyncio.gather(*(submit() for _ in range(SINGLES)))
        single = SINGLES / (time.perf_counter() - began)
        began = time.perf_counter()
        rows = (Submission(kind="noop") for _ in range(ROWS))
        refused = [row.error async for row in acked.submit_many(rows) if row.error]
        many = ROWS / (time.perf_counter() - began)
    if refused:
        raise ChildError(f"{len(refused)} rows were refused, the first with {refused[0]}")
    return single, many
