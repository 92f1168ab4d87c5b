"""The handler with durable calls: does what its story says, and checks that each call returns what is kept."""

import asyncio
from typing import TYPE_CHECKING, Any

from acked import Context, Permanent
from acked.durable.calls import DurableCall
from acked.durable.errors import StepFailed, StepUncertain, WaitTimedOut
from acked.durable.step import Step
from simulation.handlers import KINDS, Effect, kind_of, noted
from simulation.loop import STRAND
from simulation.stories import Call, FirstPart, GatherPart, Part, Place, SleepPart, StepPart, WaitPart

if TYPE_CHECKING:
    from simulation.long_work import LongWork

LONG = "long"
_FINAL = (StepFailed, StepUncertain, WaitTimedOut)
"""The errors that a replay raises again."""


async def long_work(ctx: Context, payload: Any) -> dict[str, object]:
    """The handler of the long kind."""
    simulator = STRAND.get().process.loop.simulation  # type: ignore[attr-defined]
    with noted(ctx, payload["n"]) as effect:
        return await _Attempt(ctx, effect, simulator.long).run()


class _Attempt:
    """One attempt of a job with durable calls."""

    def __init__(self, ctx: Context, effect: Effect, world: "LongWork") -> None:
        self._ctx = ctx
        self._effect = effect
        self._world = world
        self._story = world.stories[effect.number]
        self._place = 0

    async def run(self) -> dict[str, object]:
        effect, story = self._effect, self._story
        try:
            if story.idles_s and effect.attempt == 1:
                await asyncio.sleep(story.idles_s)
            values = [await self._part(place, part) for place, part in enumerate(story.parts)]
        except Exception as error:
            effect.end = "permanent" if isinstance(error, Permanent) else "error"
            raise
        effect.end = "ok"
        return {"n": effect.number, "attempt": effect.attempt, "process": effect.process.name, "values": values}

    async def _part(self, place: int, part: Part) -> Any:
        self._place = place
        self._world.reached(self._effect, Place(place))
        call = self._gathered(part) if isinstance(part, GatherPart) else self._call(part)
        try:
            value = _plain(await call)
        except _FINAL as error:
            self._world.calls.failed(self._effect, self._ctx.run, error)
            value = [type(error).__name__, str(error)]
            if not self._goes_on_behind(part):
                raise
        if isinstance(part, GatherPart):
            self._world.calls.observed(self._effect, self._ctx.run, part.name, value)
        else:
            self._world.calls.returned(self._effect, self._ctx.run, part.text, value)
        return value

    def _goes_on_behind(self, part: Part) -> bool:
        return part.is_caught if isinstance(part, StepPart) else True

    def _gathered(self, part: GatherPart) -> DurableCall[Any]:
        return self._ctx.gather(*[self._call(one) for one in part.calls])

    def _call(self, part: Call) -> DurableCall[Any]:
        ctx = self._ctx
        match part:
            case StepPart():
                step = Step(part.name, key=part.key, retry=part.retry, once=part.once)
                return ctx.step(step, self._work, part.text)
            case SleepPart():
                return ctx.sleep(part.name, part.seconds)
            case WaitPart():
                return ctx.wait_for(part.name, part.within_s, key=part.key)
            case FirstPart():
                branches: dict[str, Any] = {f"on-{name}": ctx.signal(name) for name in part.signals}
                if part.timer_s is not None:
                    branches["late"] = ctx.timer(seconds=part.timer_s)
                return ctx.first(part.name, **branches)

    async def _work(self, text: str) -> str:
        """The function of every step. Its result tells its starts apart."""
        part = next(one for one in self._story.calls() if isinstance(one, StepPart) and one.text == text)
        start = self._world.calls.starts_step(self._effect, self._ctx, text)
        end = part.end(start.number)
        await self._lasts(part.takes_s)
        start.end = end
        self._world.reached(self._effect, Place(self._place + 1, is_ahead=True))
        if end == "error":
            raise RuntimeError("as the story says")
        if end == "permanent":
            raise Permanent("as the story says")
        return start.token

    async def _lasts(self, takes_s: float) -> None:
        self._world.moment(self._effect.process)
        if self._world.crashes(self._effect):
            await asyncio.sleep(takes_s / 2)
            self._world.crash(self._effect)
            # Nothing of the process runs any more.
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(takes_s)


def _plain(value: Any) -> Any:
    """The value as the result of the job has it: a signal is its id."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return getattr(value, "id", value)


LONG_KINDS = {**KINDS, LONG: kind_of(LONG, long_work, timeout_s=20.0, bundle=4)}
