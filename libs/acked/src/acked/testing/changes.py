"""Change the code of a handler while its job is parked, at every wait, and run the new code from there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from acked.definition import KindOptions
from acked.testing.crashes import CrashTestFailed, Handler, Outcome, outcome_of
from acked.testing.long_work import LongWork
from acked.testing.plan import Event, KitPlan, plan_of, play


@dataclass
class ChangeAt:
    """A change of the code at one wait."""

    wait: str
    outcome: Outcome
    unused: list[str]
    """Kept durable calls that the new code did not make."""
    repeated: list[str]
    """Steps whose function came to its end twice."""
    problems: list[str] = field(default_factory=list)


async def survives_code_change(
    old: Handler,
    new: Handler,
    payload: Any = None,
    plan: KitPlan | Sequence[Event] | None = None,
    *,
    options: KindOptions | None = None,
) -> list[ChangeAt]:
    """Park with one handler and resume with another, at every wait of the first. Return what each change led to.

    Raise `CrashTestFailed` if a job does not succeed although it does with either handler alone, or if a kept step
    runs again.
    """
    chosen = plan_of(payload, plan)
    waits, by_old = await _alone(old, chosen, options)
    _, by_new = await _alone(new, chosen, options)
    changes = [await _changed(old, new, chosen, options, park) for park in range(1, len(waits) + 1)]
    succeeds = by_old.state == by_new.state
    problems = []
    for change in changes:
        if succeeds and change.outcome.state != by_new.state:
            change.problems.append(f"the job is {change.outcome}")
        change.problems += [f"step {step} ran again" for step in change.repeated]
        problems += [f"changed while it waited for {change.wait}: {problem}" for problem in change.problems]
    if problems:
        raise CrashTestFailed("\n" + "\n".join(problems))
    return changes


async def _alone(handler: Handler, plan: KitPlan, options: KindOptions | None) -> tuple[list[str], Outcome]:
    async with LongWork(handler, plan.payload, options=options) as job:
        await play(job, plan)
        return job.parks, outcome_of(job)


async def _changed(old: Handler, new: Handler, plan: KitPlan, options: KindOptions | None, park: int) -> ChangeAt:
    async with LongWork(old, plan.payload, options=options) as job:
        job.replace_handler_at_park(park, new)
        await play(job, plan)
        repeated = sorted(step for step, count in job.world.effects.items() if count > 1)
        return ChangeAt(job.parks[park - 1], outcome_of(job), job.unused, repeated)
