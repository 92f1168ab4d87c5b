"""How long it takes from the submission of a job to the start of its handler, for one system that is awake."""

import itertools
import time
from dataclasses import dataclass

from benchmarks import generator
from benchmarks.bench import Bench
from benchmarks.line import Line
from benchmarks.plan import PACED_PER_S
from benchmarks.processes import ChildError
from benchmarks.systems import System, start_body

_STARTS_WITHIN_S = 30.0
_PAUSE_S = 0.005
"""Between one job and the next, so that the system is idle again."""
LATE_WITHIN_S = 10.0
_WARM_UP = 5
_WARM_UP_S = 1.0
_NUMBERS = itertools.count(1)
"""Of all jobs of the run: each tells its own."""


@dataclass(frozen=True, slots=True)
class Starts:
    """Milliseconds of each job."""

    answered: list[float]
    """Until the 202, on the idle system."""
    idle: list[float]
    """Until its handler started, on the idle system."""
    steady: list[float]
    """Until its handler started, at a steady rate."""
    missing: int
    """Jobs of the steady rate that did not start in time."""


def measure_starts(bench: Bench, system: System) -> Starts:
    """The system is awake and has no workers, before and after."""
    system.start_workers()
    answered, idle = one_by_one(bench, system)
    steady, missing = _at_rate(bench, system)
    system.stop_workers()
    return Starts(answered, idle, steady, missing)


def one_by_one(bench: Bench, system: System) -> tuple[list[float], list[float]]:
    """Milliseconds of each job until its 202 and until its start, one at a time, as many as there is time for; its
    workers are on."""
    with Line(system.port, system.headers) as line:
        _until_it_works(bench, system, line)
        return _idle(bench, system, line)


def _until_it_works(bench: Bench, system: System, line: Line) -> None:
    """The first jobs of fresh workers pay for connections and imports."""
    began = time.monotonic()
    end = began + _STARTS_WITHIN_S
    for done in range(_WARM_UP):
        # One that looks for work each second is as warm as it gets.
        if done and time.monotonic() > began + _WARM_UP_S:
            return
        number = next(_NUMBERS)
        line.post(start_body(number))
        while bench.starts.of(number, 0.5) is None:
            system.handled()
            if time.monotonic() > end:
                raise ChildError(f"{system.name} starts no job within {_STARTS_WITHIN_S:g} s")


def next_numbers(count: int) -> int:
    """The first of so many numbers that no other job of the run has."""
    return min([next(_NUMBERS) for _ in range(count)])


def _idle(bench: Bench, system: System, line: Line) -> tuple[list[float], list[float]]:
    answered: list[float] = []
    took: list[float] = []
    end = time.monotonic() + bench.plan.idle_s
    while len(took) < bench.plan.idle_samples and (time.monotonic() < end or len(took) < 3):
        number = next(_NUMBERS)
        sent_ns = time.monotonic_ns()
        line.post(start_body(number))
        answered.append((time.monotonic_ns() - sent_ns) / 1e6)
        started_ns = bench.starts.of(number, LATE_WITHIN_S)
        if started_ns is None:
            raise ChildError(f"{system.name}: a job had not started after {LATE_WITHIN_S:g} s")
        took.append((started_ns - sent_ns) / 1e6)
        time.sleep(_PAUSE_S)
    return answered, took


def _at_rate(bench: Bench, system: System) -> tuple[list[float], int]:
    """Milliseconds of each job at a steady rate, and how many did not start."""
    first = next(_NUMBERS)
    total = int(PACED_PER_S * bench.plan.paced_s)
    for _ in range(total):
        next(_NUMBERS)
    sent_ns: dict[int, int] = {}
    generator.paced(
        system.port,
        lambda n: generator.request_bytes(system.port, "/process", start_body(first + n), system.headers),
        per_s=PACED_PER_S,
        seconds=bench.plan.paced_s,
        sent=lambda n, at_ns: sent_ns.update({first + n: at_ns}),
    )
    took = []
    end = time.monotonic() + LATE_WITHIN_S
    for number, at_ns in sent_ns.items():
        started_ns = bench.starts.of(number, max(0.0, end - time.monotonic()))
        if started_ns is not None:
            took.append((started_ns - at_ns) / 1e6)
    return took, total - len(took)
