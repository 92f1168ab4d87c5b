"""How long it takes from the 202 of a signal to the first line behind the handler's wait, beside an idle start."""

import json
import time

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.starting import LATE_WITHIN_S, next_numbers
from benchmarks.line import Line
from benchmarks.processes import ChildError, until
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile, ratio
from benchmarks.systems import start_body

NAME = "signals"
COLUMNS = {
    "from the request p50": "ms",
    "from the request p99": "ms",
    "from the 202 p50": "ms",
    "from the 202 p99": "ms",
}
_START, _SIGNAL = "idle start through the queue", "signal to a parked job"
_PARKED_WITHIN_S = 120.0
_PAUSE_S = 0.005
_WARM_UP = 5

Times = list[tuple[float, float]]
"""Milliseconds of each sample until the start: from the request, and from its 202."""


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    ours = bench.ours
    ours.wake()
    starts: Times = []
    signals: Times = []
    try:
        ours.start_workers()
        with Line(ours.port, ours.headers) as intake, Line(ours.gateway_port, ours.headers) as gateway:
            parked = _park(bench, intake, bench.plan.signals + _WARM_UP)
            for done, (number, job_id) in enumerate(parked.items()):
                signal = _timed(bench, gateway, number, b"1", f"/jobs/{job_id}/signals/go")
                started = next_numbers(1)
                start = _timed(bench, intake, started, start_body(started))
                if done >= _WARM_UP:
                    signals.append(signal)
                    starts.append(start)
    finally:
        bench.leave(ours)
    return _result(starts, signals)


def _park(bench: Bench, line: Line, count: int) -> dict[int, str]:
    """Parks so many jobs; the id of each by the number that it tells."""
    first = next_numbers(count)
    numbers = range(first, first + count)
    ids = {number: str(json.loads(line.post(start_body(number, "signalled")))["id"]) for number in numbers}

    def all_wait() -> bool:
        waiting: int = bench.ours.jobs.count_documents({"kind": "signalled", "state": "waiting"})
        return waiting == count

    until(all_wait, within_s=_PARKED_WITHIN_S, what=f"{count} jobs wait for a signal")
    bench.say(f"{count:,} jobs wait for a signal")
    return ids


def _timed(bench: Bench, line: Line, number: int, body: bytes, path: str = "/process") -> tuple[float, float]:
    sent_ns = time.monotonic_ns()
    line.post(body, path)
    answered_ns = time.monotonic_ns()
    started_ns = bench.starts.of(number, LATE_WITHIN_S)
    if started_ns is None:
        raise ChildError(f"a handler had not gone on {LATE_WITHIN_S:g} s after {path}")
    time.sleep(_PAUSE_S)
    # A handler may go on before the client has read the response.
    return (started_ns - sent_ns) / 1e6, max(0, started_ns - answered_ns) / 1e6


def _values(times: Times) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for place, since in enumerate(("from the request", "from the 202")):
        milliseconds = [time[place] for time in times]
        for share in (0.5, 0.99):
            found[f"{since} p{share * 100:g}"] = Spread((percentile(milliseconds, share),))
    return found


def _result(starts: Times, signals: Times) -> FigureResult:
    result = FigureResult(NAME, "Signal → first line after the wait of a parked job", COLUMNS)
    start, signal = _values(starts), _values(signals)
    result.rows += [Row(_START, start), Row(f"{_SIGNAL}, {len(signals):,} of them", signal)]
    found = ratio(signal["from the 202 p99"], start["from the request p99"])
    bar = Bar("p99 from the 202 of a signal ÷ p99 of an idle start from its request", Side.AT_MOST, 3)
    result.judged = judged([(bar, found)])
    result.notes.append(
        "All jobs wait before the first signal is sent. Signals and starts of other jobs take turns, one at a time, "
        "with two workers running. After its 202 a signal needs a claim, an open of the ledger and the write that "
        "takes it, each in the journals of a majority."
    )
    return result
