"""The load test of a thousand calls, as the page makes it, with the default worker running."""

import time

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.plan import LOAD_TEST_CALLS
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread

NAME = "load-test"
COLUMNS = {"duration": "ms", "p50": "ms", "p99": "ms"}
_DONE_WITHIN_S = 60.0
_LOOK_S = 0.2


def measure(bench: Bench) -> FigureResult:
    """The figure; one call before it is not counted, where there is time for it."""
    values: dict[str, list[float]] = {name: [] for name in COLUMNS}
    bench.ours.wake()
    try:
        bench.ours.start_workers(1)
        warm_ups = 0 if bench.plan.stays_awake else 1
        for number in range(warm_ups + bench.plan.rounds):
            status, figures = bench.ours.call("POST", f"/load-test?count={LOAD_TEST_CALLS}")
            if status != 200 or figures["persisted"] != LOAD_TEST_CALLS:
                raise ChildError(f"the load test answered {status}: {figures}")
            _wait_done(bench, figures["batch"])
            if number >= warm_ups:
                values["duration"].append(figures["duration_ms"])
                values["p50"].append(figures["latency_ms"]["p50"])
                values["p99"].append(figures["latency_ms"]["p99"])
    finally:
        bench.leave(bench.ours)
    spreads = {name: Spread(tuple(found)) for name, found in values.items()}
    result = FigureResult(NAME, f"Load test of {LOAD_TEST_CALLS:,} requests, default worker running", COLUMNS)
    result.rows.append(Row(bench.ours.name, spreads))
    result.judged = judged([(Bar("median duration", Side.AT_MOST, 250, "ms"), spreads["duration"].median)])
    result.notes.append(
        "The gateway itself sends the requests, over 128 connections, and uses its share of the cores for that."
    )
    return result


def _wait_done(bench: Bench, batch: str) -> None:
    end = time.monotonic() + _DONE_WITHIN_S
    while time.monotonic() < end:
        status, found = bench.ours.call("GET", f"/batches/{batch}")
        if status == 200 and found["states"].get("succeeded") == LOAD_TEST_CALLS:
            return
        time.sleep(_LOOK_S)
    raise ChildError(f"batch {batch} is not done after {_DONE_WITHIN_S:g} s")
