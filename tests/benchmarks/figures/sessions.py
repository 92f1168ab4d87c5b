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
from benchmarks.windows import Sample, Window, window
from benchmarks.wrk import Load

ACCEPT = "accept"
DRAIN = "drain"
KEYED = "Acked, each request with a key"
BESIDE_WORKERS = "Acked, two workers on"
DRAINED = ("Acked", "Celery", "Dramatiq", "Taskiq")
_STARTS_WITHIN_S = 30.0
_SETTLES_S = 1.0
_SAMPLE_S = 0.05
_WHOLE_SHARE = 0.9
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
            drained = _drain(bench, system, load.accepted)
            found.values[system.name]["drained"].append(drained.per_s)
            if drained.took_s < bench.plan.drain_s * _WHOLE_SHARE:
                found.notes[system.name] = (
                    f"does more than its endpoint accepts: the queue was almost empty after {drained.took_s:.1f} s"
                )
            line += f", does {drained.per_s:,.0f}/s"
        if system is bench.ours and accepts:
            if not is_drained:
                system.start_workers()
            found.add_load(BESIDE_WORKERS, bench.loader.post(system, seconds=bench.plan.beside_s))
        bench.say(line)
    return found


def _drain(bench: Bench, system: System, filled: int) -> Window:
    """No-ops done a second by the workers of a system, from a queue that does not run empty."""
    system.start_workers()
    samples: list[Sample] = []
    starts_until = time.monotonic() + _STARTS_WITHIN_S
    end = starts_until + bench.plan.drain_s
    settles_s = min(_SETTLES_S, bench.plan.drain_s / 4)
    while time.monotonic() < end:
        sample = Sample(time.monotonic(), system.handled())
        if sample.done and not samples:
            end = sample.at_s + settles_s + bench.plan.drain_s
        elif not sample.done and sample.at_s > starts_until:
            raise ChildError(f"the workers of {system.name} do nothing within {_STARTS_WITHIN_S:g} s")
        if sample.done:
            samples.append(sample)
        if sample.done >= filled * (1 - _LEFT_SHARE):
            break
        time.sleep(_SAMPLE_S)
    return window(samples, filled=filled, settles_s=settles_s)
