"""From the submission of a job to the start of its handler: one at a time on an idle system, and at a steady rate."""

import itertools
import time
from collections import defaultdict

from benchmarks import generator
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.parts import measure_parts
from benchmarks.line import Line
from benchmarks.plan import PACED_PER_S
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile, ratio
from benchmarks.systems import System, start_body

NAME = "start"
PARTS = "one insert + one publish → deliver + one update"
COLUMNS = {"idle p50": "ms", "idle p99": "ms", "at rate p50": "ms", "at rate p99": "ms"}
_STARTS_WITHIN_S = 30.0
_PAUSE_S = 0.01
"""Between one job and the next, so that the system is idle again."""
_LATE_WITHIN_S = 10.0
_WARM_UP = 5

Values = dict[str, dict[str, list[float]]]


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    values: Values = defaultdict(lambda: defaultdict(list))
    numbers = itertools.count(1)
    notes: dict[str, str] = {}
    peers = [bench.peer(name) for name in ("celery", "dramatiq", "taskiq", "dbos")]
    for number, system in bench.in_turn([bench.ours, *peers]):
        system.start_workers()
        line = Line(system.port, system.headers)
        with line:
            _until_it_works(bench, system, line, numbers)
            idle = _idle(bench, system, line, numbers)
        steady, missing = _at_rate(bench, system, numbers)
        if missing:
            notes[system.name] = f"{missing} of the jobs had not started {_LATE_WITHIN_S:g} s later"
        _add(values, system.name, idle, steady)
        if system is bench.ours:
            parts = measure_parts(bench, samples=bench.plan.idle_samples, within_s=bench.plan.idle_s)
            _add(values, PARTS, parts, None)
        bench.say(f"round {number + 1}: {system.name} idle p50 {percentile(idle, 0.5):.2f} ms")
    return _result(bench, values, notes)


def _until_it_works(bench: Bench, system: System, line: Line, numbers: "itertools.count[int]") -> None:
    """The first jobs of fresh workers pay for connections and imports."""
    end = time.monotonic() + _STARTS_WITHIN_S
    for _ in range(_WARM_UP):
        number = next(numbers)
        line.post(start_body(number))
        while bench.starts.of(number, 0.5) is None:
            system.handled()
            if time.monotonic() > end:
                raise ChildError(f"{system.name} starts no job within {_STARTS_WITHIN_S:g} s")


def _idle(bench: Bench, system: System, line: Line, numbers: "itertools.count[int]") -> list[float]:
    """Milliseconds of each job, one at a time: as many as there is time for."""
    took: list[float] = []
    end = time.monotonic() + bench.plan.idle_s
    while len(took) < bench.plan.idle_samples and (time.monotonic() < end or len(took) < 3):
        number = next(numbers)
        sent_ns = time.monotonic_ns()
        line.post(start_body(number))
        started_ns = bench.starts.of(number, _LATE_WITHIN_S)
        if started_ns is None:
            raise ChildError(f"{system.name}: a job had not started after {_LATE_WITHIN_S:g} s")
        took.append((started_ns - sent_ns) / 1e6)
        time.sleep(_PAUSE_S)
    return took


def _at_rate(bench: Bench, system: System, numbers: "itertools.count[int]") -> tuple[list[float], int]:
    """Milliseconds of each job at a steady rate, and how many did not start."""
    first = next(numbers)
    total = int(PACED_PER_S * bench.plan.paced_s)
    for _ in range(total):
        next(numbers)
    sent_ns: dict[int, int] = {}
    generator.paced(
        system.port,
        lambda n: generator.request_bytes(system.port, "/process", start_body(first + n), system.headers),
        per_s=PACED_PER_S,
        seconds=bench.plan.paced_s,
        sent=lambda n, at_ns: sent_ns.update({first + n: at_ns}),
    )
    took = []
    end = time.monotonic() + _LATE_WITHIN_S
    for number, at_ns in sent_ns.items():
        started_ns = bench.starts.of(number, max(0.0, end - time.monotonic()))
        if started_ns is not None:
            took.append((started_ns - at_ns) / 1e6)
    return took, total - len(took)


def _add(values: Values, name: str, idle: list[float], steady: list[float] | None) -> None:
    for column, found in (("idle", idle), ("at rate", steady)):
        if found:
            values[name][f"{column} p50"].append(percentile(found, 0.5))
            values[name][f"{column} p99"].append(percentile(found, 0.99))


def _result(bench: Bench, values: Values, notes: dict[str, str]) -> FigureResult:
    result = FigureResult(NAME, f"Submission → handler starts: idle, and at {PACED_PER_S:g} jobs/s", COLUMNS)
    spreads = {name: {c: Spread(tuple(v)) for c, v in found.items()} for name, found in values.items()}
    ours = spreads[bench.ours.name]
    for name, found in spreads.items():
        of_it = None if name == bench.ours.name else ratio(ours["idle p50"], found["idle p50"])
        result.rows.append(Row(name, found, of_it, notes.get(name, "")))
    parts = spreads[PARTS]
    of_peers = [
        ratio(ours["idle p50"], spreads[name]["idle p50"]) for name in spreads if name not in (bench.ours.name, PARTS)
    ]
    worst = max((found for found in of_peers if found is not None), default=None)
    result.judged = judged(
        [
            (Bar("idle p50, of the sum of its parts", Side.AT_MOST, 1.4), ratio(ours["idle p50"], parts["idle p50"])),
            (Bar("idle p99, of the sum of its parts", Side.AT_MOST, 3), ratio(ours["idle p99"], parts["idle p99"])),
            (Bar("idle p50, of the quickest peer", Side.LESS_THAN, 1), worst),
        ]
    )
    result.notes.append(
        "From the moment in which a client sends the request to the first statement of the handler; both by the "
        "machine's "
        "monotonic clock. The parts are of the same p50 and p99, one after the other, and have no HTTP in them. "
        "The ratio "
        "is that of the idle p50."
    )
    return result
