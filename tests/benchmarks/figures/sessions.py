"""One session of each system a round: its queue is filled through its endpoint, then drained.

Gives two figures: how fast requests are accepted, and how fast their jobs are done.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.bench import Bench
from benchmarks.processes import ChildError
from benchmarks.rounds import Spread
from benchmarks.systems import System
from benchmarks.wrk import Load

ACCEPT = "accept"
DRAIN = "drain"
KEYED = "Acked, each request with a key"
BESIDE_WORKERS = "Acked, two workers on"
DRAINED = ("Acked", "Celery", "Dramatiq", "Taskiq")
_STARTS_WITHIN_S = 30.0
_SETTLES_S = 1.0
_SAMPLE_S = 0.1
_LEFT_SHARE = 0.05
"""A window ends when so little of what was filled in is left: a queue that is about to be empty tells nothing."""


@dataclass(slots=True)
class Sessions:
    """Values of each round by system and name."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    notes: dict[str, str] = field(default_factory=dict)

    def spread(self, system: str, name: str) -> Spread | None:
        """What the rounds came to; None where nothing was measured."""
        found = self.values.get(system, {}).get(name)
        return Spread(tuple(found)) if found else None

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
    accepts, drains = ACCEPT in bench.chosen, DRAIN in bench.chosen
    peers = [bench.peer(name) for name in ("bare", "celery", "dramatiq", "taskiq", "dbos")]
    systems: list[System] = [bench.ours, *peers]
    found = Sessions()
    for number, system in bench.in_turn([s for s in systems if accepts or s.name in DRAINED]):
        is_drained = drains and system.name in DRAINED
        bench.loader.post(system, seconds=bench.plan.warm_up_s)
        # What is not drained has no need of a long queue.
        fill_s = bench.plan.fill_s if is_drained else min(bench.plan.fill_s, 2 * bench.plan.beside_s)
        load = bench.loader.post(system, seconds=fill_s)
        found.add_load(system.name, load)
        if system is bench.ours and accepts:
            found.add_load(KEYED, bench.loader.post(system, seconds=bench.plan.beside_s, keyed=True))
        line = f"round {number + 1}: {system.name} accepts {load.per_s:,.0f}/s, p99 {load.p99_ms:.1f} ms"
        if is_drained:
            per_s, seconds = _drain(bench, system, load.accepted)
            found.values[system.name]["drained"].append(per_s)
            if seconds < bench.plan.drain_s * 0.9:
                found.notes[system.name] = f"its queue was almost empty after {seconds:.1f} s: that is the window"
            line += f", does {per_s:,.0f}/s"
        if system is bench.ours and accepts:
            if not is_drained:
                system.start_workers()
            found.add_load(BESIDE_WORKERS, bench.loader.post(system, seconds=bench.plan.beside_s))
        bench.say(line)
    return found


def _drain(bench: Bench, system: System, filled: int) -> tuple[float, float]:
    """No-ops done a second by the workers of a system, and over how many seconds."""
    system.start_workers()
    end = time.monotonic() + _STARTS_WITHIN_S
    while not system.handled():
        if time.monotonic() > end:
            raise ChildError(f"the workers of {system.name} do nothing within {_STARTS_WITHIN_S:g} s")
        time.sleep(_SAMPLE_S)
    time.sleep(min(_SETTLES_S, bench.plan.drain_s / 4))
    first_at, first = time.monotonic(), system.handled()
    last_at, last = first_at, first
    while last_at < first_at + bench.plan.drain_s and last < filled * (1 - _LEFT_SHARE):
        time.sleep(_SAMPLE_S)
        last_at, last = time.monotonic(), system.handled()
    if last_at == first_at:
        raise ChildError(f"{system.name} had emptied its queue before it was measured: fill it for longer")
    return (last - first) / (last_at - first_at), last_at - first_at
