"""One session of each system a round: jobs are started one by one, then its queue is filled and drained.

Gives three figures, of those that are chosen: how soon a job starts, how fast requests are accepted, and how fast their
jobs are done.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.figures.parts import measure_parts
from benchmarks.figures.starting import LATE_WITHIN_S, measure_starts
from benchmarks.rounds import Spread, percentile
from benchmarks.systems import System
from benchmarks.wrk import Load

ACCEPT = "accept"
DRAIN = "drain"
START = "start"
PARTS = "one insert + one publish → deliver + one update"
KEYED = "Acked, a key with each request"
BESIDE_WORKERS = "Acked, two workers running"
DRAINED = ("Acked", "Celery", "Dramatiq", "Taskiq")
_WHOLE_SHARE = 0.9


@dataclass(slots=True)
class Sessions:
    """Values of each round by system and name."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    notes: dict[str, str] = field(default_factory=dict)
    """Of drains, by system."""
    late: dict[str, str] = field(default_factory=dict)
    """Of starts, by system."""

    def spread(self, system: str, name: str) -> Spread | None:
        """What the rounds came to; None where nothing was measured."""
        found = self.values.get(system, {}).get(name)
        return Spread(tuple(found)) if found else None

    def add_starts(self, system: str, idle: list[float], steady: list[float]) -> None:
        """Milliseconds of each job that was measured."""
        for column, found in (("idle", idle), ("at rate", steady)):
            if found:
                self.values[system][f"{column} p50"].append(percentile(found, 0.5))
                self.values[system][f"{column} p99"].append(percentile(found, 0.99))

    def add_load(self, system: str, load: Load) -> None:
        """What one load came to."""
        values = self.values[system]
        values["accepted"].append(load.per_s)
        values["p50"].append(load.p50_ms)
        values["p99"].append(load.p99_ms)


def sessions(bench: Bench) -> Sessions:
    """All sessions, once a run."""
    if "sessions" not in bench.shared:
        bench.shared["sessions"] = _run(bench)
    found = bench.shared["sessions"]
    assert isinstance(found, Sessions)
    return found


def _run(bench: Bench) -> Sessions:
    peers = [bench.peer(name) for name in ("bare", "celery", "dramatiq", "taskiq", "dbos")]
    systems: list[System] = [bench.ours, *peers]
    found = Sessions()
    for number, system in bench.in_turn([system for system in systems if _figures_of(bench, system)]):
        wanted = _figures_of(bench, system)
        lines = []
        if START in wanted:
            lines.append(_start(bench, system, found))
        if {ACCEPT, DRAIN} & wanted:
            lines.append(_accept_and_drain(bench, system, found, wanted))
        bench.say(f"round {number + 1}: {system.name} {'; '.join(lines)}")
    return found


def _figures_of(bench: Bench, system: System) -> set[str]:
    """Those of the chosen figures that a system has a part in."""
    found = {ACCEPT} & bench.chosen
    if system is not bench.peer("bare"):
        found |= {START} & bench.chosen
    return found | ({DRAIN} & bench.chosen if system.name in DRAINED else set())


def _start(bench: Bench, system: System, found: Sessions) -> str:
    starts = measure_starts(bench, system)
    found.add_starts(system.name, starts.idle, starts.steady)
    found.values[system.name]["idle 202 p50"].append(percentile(starts.answered, 0.5))
    if starts.missing:
        found.late[system.name] = f"{starts.missing} of the jobs had not started {LATE_WITHIN_S:g} s later"
    if system is bench.ours:
        parts = measure_parts(bench, samples=bench.plan.idle_samples, within_s=bench.plan.idle_s)
        found.add_starts(PARTS, parts, [])
    return f"starts a job after {percentile(starts.idle, 0.5):.2f} ms"


def _accept_and_drain(bench: Bench, system: System, found: Sessions, wanted: set[str]) -> str:
    bench.loader.post(system, seconds=bench.plan.warm_up_s)
    # What is not drained has no need of a long queue.
    fill_s = bench.plan.fill_s if DRAIN in wanted else min(bench.plan.fill_s, 2 * bench.plan.beside_s)
    load = bench.loader.post(system, seconds=fill_s)
    found.add_load(system.name, load)
    if system is bench.ours and ACCEPT in wanted:
        found.add_load(KEYED, bench.loader.post(system, seconds=bench.plan.beside_s, keyed=True))
    line = f"accepts {load.per_s:,.0f}/s, p99 {load.p99_ms:.1f} ms"
    if DRAIN in wanted:
        drained = drain(bench, system, load.accepted, within_s=bench.plan.drain_s)
        found.values[system.name]["drained"].append(drained.per_s)
        if drained.took_s < bench.plan.drain_s * _WHOLE_SHARE:
            found.notes[system.name] = (
                f"faster than its endpoint accepts: the queue was almost empty after {drained.took_s:.1f} s"
            )
        line += f", does {drained.per_s:,.0f}/s"
    if system is bench.ours and ACCEPT in wanted:
        if DRAIN not in wanted:
            system.start_workers()
        found.add_load(BESIDE_WORKERS, bench.loader.post(system, seconds=bench.plan.beside_s))
    return line
