"""What the handlers of a simulation do, and the ledger of their effects."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

from acked import Context, Kind, KindOptions, Permanent, RetryLater
from acked.definition import define
from acked.durable.errors import AttemptParked, LeaseLost
from simulation.loop import STRAND, SimProcess, Strand

MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """What one attempt does: work for so long, then end so."""

    takes_s: float
    end: str = "ok"
    """`ok`, `error`, `later`, `permanent`."""
    lingers_s: float = 0.0
    """How long it goes on after it was told to stop."""


OK = Step(0.1)


@dataclass(slots=True)
class Effect:
    """One start of a handler."""

    number: int
    job_id: UUID
    attempt: int
    process: SimProcess
    begun_at: float
    is_alone: bool
    """In a process of its own."""
    strand: Strand
    ended_at: float = math.inf
    end: str = "?"
    held_beside: set[int] = field(default_factory=set)
    """Attempts that began while this one stood at the closed gate of its process."""

    @property
    def stands_at_gate(self) -> bool:
        """Whether it could make no step just now."""
        return self.strand.is_open is not None and not self.strand.is_open()

    @property
    def gone_at(self) -> float:
        """When it could do nothing more: it has ended, or its process has died."""
        return min(self.ended_at, self.process.died_at)


@dataclass(slots=True)
class Script:
    """What the attempts of one submission do, in order; behind the last one they succeed."""

    steps: list[Step] = field(default_factory=list)
    crashes: int = 0
    """So many attempts end their process in the middle of their work."""

    def step(self, attempt: int) -> Step:
        """What attempt 1, 2, … does."""
        return self.steps[attempt - 1] if attempt <= len(self.steps) else OK


def draw_script(rng: Random, timeout_s: float | None, jobs_crash: float) -> Script:
    """A script: most attempts succeed soon, some fail, some take long, some outlast their timeout."""
    steps = []
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        takes_s = rng.choice((0.01, rng.uniform(0, 1), rng.uniform(0, 6), rng.uniform(4, 16)))
        if timeout_s is not None and rng.random() < 0.3:
            takes_s = timeout_s * 2
        end = rng.choices(("ok", "error", "later", "permanent"), (6, 3, 1, 0.4))[0]
        lingers_s = rng.uniform(0.5, 6) if rng.random() < 0.1 else 0.0
        steps.append(Step(takes_s, end, lingers_s))
    return Script(steps, rng.choice((1, 2, 3, 9)) if rng.random() < jobs_crash else 0)


@contextmanager
def noted(ctx: Context, number: int) -> Iterator[Effect]:
    """Write the start and the end of an attempt into the ledger of effects; the handler sets `end`."""
    process = STRAND.get().process
    simulator = process.loop.simulation  # type: ignore[attr-defined]
    now = simulator.loop.time()
    effect = Effect(number, UUID(ctx.id), ctx.attempt, process, now, process.is_of_suspect, STRAND.get())
    for other in simulator.effects:
        if other.job_id == effect.job_id and other.gone_at > now and other.stands_at_gate:
            other.held_beside.add(ctx.attempt)
    simulator.effects.append(effect)
    simulator.ownership.begins(effect)
    simulator.pauses.begins(effect, ctx.kind)
    simulator.note(process.name, f"attempt {ctx.attempt} begins", effect.job_id)
    try:
        yield effect
    except (asyncio.CancelledError, LeaseLost):
        effect.end = "stopped"
        raise
    except AttemptParked:
        effect.end = "parked"
        raise
    finally:
        if not simulator.is_over:
            effect.ended_at = simulator.loop.time()
            simulator.ownership.ends(effect)
            simulator.note(process.name, f"attempt {ctx.attempt} ends: {effect.end}", effect.job_id)


async def work(ctx: Context, payload: Any) -> dict[str, object]:
    """The handler of the plain kinds: does what its submission's script says and writes the ledger."""
    process = STRAND.get().process
    simulator = process.loop.simulation  # type: ignore[attr-defined]
    number = payload["n"]
    step = simulator.clients.scripts[number].step(ctx.attempt)
    with noted(ctx, number) as effect:
        try:
            if ctx.attempt <= simulator.clients.scripts[number].crashes:
                await asyncio.sleep(step.takes_s / 2)
                simulator.crash(process, effect.job_id, ctx.attempt)
                # Nothing of the process runs any more.
                await simulator.loop.create_future()
            await asyncio.sleep(step.takes_s)
        except asyncio.CancelledError:
            effect.end = "stopped"
            if step.lingers_s:
                await asyncio.sleep(step.lingers_s)
            raise
        else:
            effect.end = step.end
    if step.end == "error":
        raise RuntimeError("as the script says")
    if step.end == "later":
        raise RetryLater(0.7, "as the script says")
    if step.end == "permanent":
        raise Permanent("as the script says")
    return {"n": number, "attempt": ctx.attempt, "process": process.name}


def kind_of(name: str, handler: Any, **options: Any) -> Kind:
    """Define a kind with the options that all of them share."""
    return define(
        name, handler, KindOptions(max_attempts=MAX_ATTEMPTS, backoff_base_s=0.5, backoff_cap_s=4.0, **options)
    )


KINDS = {
    kind.name: kind
    for kind in (
        kind_of("bundled", work, timeout_s=20.0),
        kind_of("single", work, timeout_s=20.0, bundle=1),
        # Two kinds on one lane.
        kind_of("neighbour", work, timeout_s=20.0, bundle=2, lane="bundled"),
    )
}
