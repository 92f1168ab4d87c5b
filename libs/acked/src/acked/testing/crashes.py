"""Kill a handler at every point of its durable calls, and compare the outcomes.

The points are: before each durable call, between the effect of a call and its record, behind the record, at the opening
of the ledger, and before a park or the end of an attempt is recorded. A run that is killed must end as one that is not.
A step's function may come to its end at most once more for each kill.
"""

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from acked.definition import KindOptions
from acked.testing.long_work import LongWork
from acked.testing.outside import watch_effects
from acked.testing.plan import Event, KitPlan, plan_of, play

MOST_LIVES = 2000
"""Runs of one crash test. A handler with many durable calls has more pairs of kills; then some are left out."""
MOST_SHOWN = 10

Handler = Callable[[Any, Any], Any]


class CrashTestFailed(AssertionError):
    """A handler does not survive; the message lists the kills and the outcomes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    state: str
    result: Any
    error: tuple[str, str] | None
    """Type and message."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.state} with {self.error[0]}: {self.error[1]}"
        return f"{self.state} with {self.result!r}"


@dataclass
class PointResult:
    """The kills at one point."""

    name: str
    kills: int = 0
    differing: int = 0


@dataclass
class CrashReport:
    """What a crash test found. `problems` is empty if the handler survives."""

    outcome: Outcome
    """Without a kill."""
    points: list[PointResult] = field(default_factory=list)
    lives: int = 1
    left_out: int = 0
    """Pairs of kills that were not tried."""
    effects: Counter[str] = field(default_factory=Counter)
    """The most that each step's function came to its end in one run."""
    outside: list[str] = field(default_factory=list)
    """Effects outside steps."""
    problems: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the report as text."""
        width = max([len(point.name) for point in self.points] + [len(name) + 5 for name in self.effects] + [20])
        # First: a handler that fails by a slip of its own fails alike after every kill.
        lines = [f"without a kill: {self.outcome}", "", f"{'killed':{width}}  runs  same outcome"]
        for point in self.points:
            same = "yes" if not point.differing else f"no, {point.differing} differ"
            lines.append(f"{point.name:{width}}  {point.kills:4}  {same}")
        lines += ["", f"{'step':{width}}  ends of its function in one run, at most"]
        lines += [f"{name:{width}}  {count}" for name, count in sorted(self.effects.items())]
        lines += ["", f"{self.lives} runs"]
        if self.left_out:
            lines.append(f"{self.left_out} pairs of kills were left out; most_lives sets how many are tried")
        lines += [f"effect outside steps: {one}" for one in self.outside]
        lines += [f"PROBLEM {problem}" for problem in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            lines.append(f"… and {len(self.problems) - MOST_SHOWN} more problems")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class CrashOptions:
    """How a crash test runs."""

    kills: int = 2
    """Kills of one run, 1 or 2."""
    most_lives: int = MOST_LIVES
    allow_outside: bool = False
    """Accept effects outside steps."""
    same: Callable[[Any, Any], bool] = operator.eq
    """Compares two results; for handlers whose results hold random values."""
    kind: KindOptions | None = None
    """The options of the kind; None: those of the handler's registration."""


USUAL = CrashOptions()


async def survives_every_crash(
    handler: Handler,
    payload: Any = None,
    plan: KitPlan | Sequence[Event] | None = None,
    options: CrashOptions = USUAL,
) -> CrashReport:
    """Kill the handler at every point, once and twice.

    Return the report; raise `CrashTestFailed` if the handler does not survive.
    """
    report = await crash_report(handler, plan_of(payload, plan), options)
    if report.problems:
        raise CrashTestFailed("\n" + report.table())
    return report


async def crash_report(handler: Handler, plan: KitPlan, options: CrashOptions = USUAL) -> CrashReport:
    """Kill the handler at every point, and return what was found."""
    watch_effects()
    first = await _life(handler, plan, options, ())
    report = CrashReport(first.outcome)
    report.effects, report.outside = first.effects, first.outside
    report.problems += first.problems
    if report.outside and not options.allow_outside:
        report.problems.append("the handler has effects outside steps, which are repeated whenever it runs again")
    if first.is_waiting:
        report.problems.append(f"the plan ends while the job is {first.outcome.state}{first.waits_for}: add an event")
        return report
    after_one: list[tuple[int, _Life]] = []
    for kill in range(1, len(first.reached) + 1):
        life = await _judged(report, handler, plan, options, (kill,))
        after_one.append((kill, life))
    if options.kills > 1:
        pairs = [(kill, other) for kill, life in after_one for other in range(kill + 1, len(life.reached) + 1)]
        chosen = _spread(pairs, max(0, options.most_lives - report.lives))
        report.left_out = len(pairs) - len(chosen)
        for pair in chosen:
            await _judged(report, handler, plan, options, pair)
    return report


@dataclass
class _Life:
    """What one run showed."""

    outcome: Outcome
    effects: Counter[str]
    outside: list[str]
    reached: list[str]
    is_waiting: bool
    waits_for: str
    problems: list[str]


async def _life(handler: Handler, plan: KitPlan, options: CrashOptions, kills: tuple[int, ...]) -> _Life:
    async with LongWork(handler, plan.payload, options=options.kind, kills=kills) as job:
        await play(job, plan)
        waits_for = "" if job.waits is None else f", for {job.waits.call} {job.waits.name!r}"
        reached = job.world.points.reached
        life = _Life(
            outcome_of(job), Counter(job.world.effects), job.world.outside, reached, not job.has_ended, waits_for, []
        )
        where = ", ".join(reached[kill - 1] for kill in kills if kill <= len(reached)) or "no kill"
        for step, count in job.world.effects.items():
            if count > 1 + len(kills):
                life.problems.append(f"{where}: the function of step {step} ended {count} times")
        return life


async def _judged(
    report: CrashReport, handler: Handler, plan: KitPlan, options: CrashOptions, kills: tuple[int, ...]
) -> _Life:
    life = await _life(handler, plan, options, kills)
    report.lives += 1
    report.effects |= life.effects
    report.problems += life.problems
    differs = not is_same(report.outcome, life.outcome, options.same)
    where = [life.reached[kill - 1] for kill in kills if kill <= len(life.reached)]
    if differs:
        report.problems.append(f"killed {', then '.join(where)}: {life.outcome}")
    for name in where:
        point = next((one for one in report.points if one.name == name), None)
        if point is None:
            point = PointResult(name)
            report.points.append(point)
        point.kills += 1
        point.differing += differs
    return life


def outcome_of(job: LongWork) -> Outcome:
    """Return how a job ended, or how it waits."""
    error = None if job.error is None else (str(job.error["type"]), str(job.error["message"]))
    return Outcome(job.state, job.result if error is None and job.has_succeeded else None, error)


def is_same(one: Outcome, other: Outcome, same: Callable[[Any, Any], bool]) -> bool:
    """Return whether two outcomes are the same to a client."""
    return (one.state, one.error) == (other.state, other.error) and bool(same(one.result, other.result))


def _spread(pairs: Sequence[tuple[int, int]], most: int) -> Sequence[tuple[int, int]]:
    """Return at most so many pairs, evenly spread."""
    if len(pairs) <= most:
        return pairs
    return [pairs[index * len(pairs) // most] for index in range(most)]
