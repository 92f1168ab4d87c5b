"""Jobs of durable steps: how many a second beside no-ops and peers, and how long a chain of steps takes."""

import time
from collections.abc import Sequence

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.figures.disk_waits import disk_waits
from benchmarks.figures.starting import LATE_WITHIN_S, next_numbers
from benchmarks.line import Line
from benchmarks.peers.marks import CHAIN, STEPS
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile, ratio
from benchmarks.systems import NOOP_BODY, STEPS_BODY, System, start_body

NAME = "steps"
COLUMNS = {"completed": "jobs/s", "steps": "steps/s", "p50": "ms", "p99": "ms"}
PEERS = ("dbos", "absurd")
_NOOPS = "Acked, no-ops"
_JOBS = f"Acked, {STEPS} steps a job"
_WAITS = f"{CHAIN} disk waits of MongoDB, one after the other"
_CHAIN = f"Acked, a chain of {CHAIN} steps"
_OPEN = "of which until its first step is recorded"
_WARM_UP = 5
_PAUSE_S = 0.005
_FILL_FACTOR = 1.3
_NOOPS_PER_S = 5_000.0
"""On a busy machine fewer are accepted in the time, and two workers do them at once: that tells no rate."""
_PIECE_S = 0.5
_FILLS_WITHIN_S = 120.0

Values = dict[str, dict[str, list[float]]]


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    values: Values = {}
    peers = [bench.peers[name] for name in PEERS if name in bench.peers]
    for number, system in bench.in_turn([bench.ours, *peers]):
        if system is bench.ours:
            noops = _drained(bench, system, NOOP_BODY, least_per_s=_NOOPS_PER_S)
            _add(values, _NOOPS, completed=noops)
            bench.ours.empty()
            jobs = _drained(bench, system, STEPS_BODY)
            _add(values, _JOBS, completed=jobs, steps=jobs * STEPS)
            bench.ours.empty()
            _chains(bench, values)
        else:
            jobs = _drained(bench, system, STEPS_BODY)
            _add(values, system.name, completed=jobs, steps=jobs * STEPS)
        bench.say(f"round {number + 1}: {system.name} does {jobs * STEPS:,.0f} steps/s")
    return _result(values, [peer.name for peer in peers])


def _add(values: Values, name: str, **found: float) -> None:
    for column, value in found.items():
        values.setdefault(name, {}).setdefault(column, []).append(value)


def _drained(bench: Bench, system: System, body: bytes, *, least_per_s: float = 0.0) -> float:
    """Jobs a second, by two worker processes; the queue is enough for `least_per_s`, however slowly it is filled."""
    drain_s = bench.plan.steps_s
    filled = bench.loader.post(system, seconds=_FILL_FACTOR * (drain_s + 1), body=body).accepted
    least = int(least_per_s * (drain_s + 1))
    if filled < least:
        missing = least - filled
        filled += bench.loader.post_until(system, missing, piece_s=_PIECE_S, within_s=_FILLS_WITHIN_S, body=body)
    found = drain(bench, system, filled, within_s=drain_s).per_s
    system.stop_workers()
    return found


def _chains(bench: Bench, values: Values) -> None:
    """Milliseconds of chains, one job at a time, and of as many disk waits, in turn."""
    ours = bench.ours
    ours.start_workers()
    opens, chains = [], []
    with Line(ours.port, ours.headers) as line, disk_waits(ours.stack.urls["mongo"]) as wait:
        waits = []
        for done in range(bench.plan.chains + _WARM_UP):
            opened_ms, whole_ms = _chain(bench, line)
            waited_ms = wait(CHAIN)
            if done >= _WARM_UP:
                opens.append(opened_ms)
                chains.append(whole_ms)
                waits.append(waited_ms)
            time.sleep(_PAUSE_S)
    for name, found in ((_WAITS, waits), (_CHAIN, chains), (_OPEN, opens)):
        _add(values, name, p50=percentile(found, 0.5), p99=percentile(found, 0.99))


def _chain(bench: Bench, line: Line) -> tuple[float, float]:
    number = next_numbers(3)
    line.post(start_body(number, "chain"))
    marks = [bench.starts.of(number + mark, LATE_WITHIN_S) for mark in range(3)]
    begun, opened, ended = marks
    if begun is None or opened is None or ended is None:
        raise ChildError(f"a chain of steps had not ended after {LATE_WITHIN_S:g} s")
    return (opened - begun) / 1e6, (ended - begun) / 1e6


def _result(values: Values, peers: Sequence[str]) -> FigureResult:
    title = f"Durable steps: {STEPS} a job completed by two worker processes, and a chain of {CHAIN}"
    result = FigureResult(NAME, title, COLUMNS)
    spreads = {
        name: {column: Spread(tuple(found)) for column, found in columns.items()} for name, columns in values.items()
    }
    ours = spreads[_JOBS]["steps"]
    for name, columns in spreads.items():
        result.rows.append(Row(name, columns, ratio(ours, columns["steps"]) if name in peers else None))
    by_peer = {row.name: row.ratio for row in result.rows}
    chain = ratio(spreads[_CHAIN]["p50"], spreads[_WAITS]["p50"])
    result.judged = judged(
        [
            (Bar("steps/s ÷ no-op jobs/s", Side.AT_LEAST, 1.5), ratio(ours, spreads[_NOOPS]["completed"])),
            *((Bar(f"steps/s ÷ {name}", Side.AT_LEAST, 5), by_peer[name]) for name in peers[:1]),
            (Bar(f"chain of {CHAIN} steps ÷ {CHAIN} disk waits, p50", Side.AT_MOST, 1.3), chain),
        ]
    )
    result.notes.append(
        "Each step's function does nothing, and its result is stored before the next step begins: by Acked in the "
        "journals of a majority. A job is completed when its outcome is recorded, with a peer when its handler has "
        "run. The chain is one job at a time on the idle system, from the first statement of its handler until the "
        "last step is recorded. A disk wait is an update of the same bytes, with majority and journal, by the plain "
        "driver. Both are measured in turn."
    )
    return result
