"""Whether a flood of one kind delays another: a quick kind on an idle system, then beside many slow jobs that wait."""

import time

from acked_common.model.lifecycle import State
from acked_common.store.mongo.schema import LIVE_INDEX
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.starting import one_by_one
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile, ratio
from benchmarks.systems import SLOW_BODY
from deploy.native.processes import wait_until

NAME = "lanes"
COLUMNS = {"p50": "ms", "p99": "ms"}
_FILL_S = 2.0
_FILLS_WITHIN_S = 120.0
_RUNNING = 100
_RUN_WITHIN_S = 30.0
_SETTLES_S = 2.0


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    bench.ours.wake()
    try:
        bench.ours.start_workers()
        idle = _rounds(bench)
        accepted = bench.loader.post_until(
            bench.ours, bench.plan.slow_accepted, piece_s=_FILL_S, within_s=_FILLS_WITHIN_S, body=SLOW_BODY
        )
        running = _until_busy(bench)
        flooded = _rounds(bench)
    finally:
        bench.leave(bench.ours)
    result = FigureResult(NAME, "A fast kind beside a flood of a slow one: submission → handler start", COLUMNS)
    result.rows.append(Row("idle", idle))
    result.rows.append(Row(f"{accepted:,} slow jobs accepted, {running:,} of them running", flooded))
    found = ratio(flooded["p99"], idle["p99"])
    result.judged = judged([(Bar("p99 beside the flood ÷ p99 on the idle system", Side.AT_MOST, 2), found)])
    result.notes.append(
        "One fast job at a time, each kind in its own lane, two workers running. Each slow job holds its slot for 5 s."
    )
    return result


def _rounds(bench: Bench) -> dict[str, Spread]:
    values: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for _ in range(bench.plan.rounds):
        _, starts = one_by_one(bench, bench.ours)
        values["p50"].append(percentile(starts, 0.5))
        values["p99"].append(percentile(starts, 0.99))
    return {column: Spread(tuple(found)) for column, found in values.items()}


def _until_busy(bench: Bench) -> int:
    """Returns when the slow jobs hold their slots; how many do."""

    def running() -> int:
        count: int = bench.ours.jobs.count_documents(
            {"state": State.RUNNING.value, "wake": {"$exists": True}}, hint=LIVE_INDEX
        )
        return count

    if not wait_until(lambda: running() >= _RUNNING, _RUN_WITHIN_S):
        raise ChildError(f"fewer than {_RUNNING} jobs run after {_RUN_WITHIN_S:g} s")
    time.sleep(_SETTLES_S)
    return running()
