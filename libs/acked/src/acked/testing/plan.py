"""A plan: the payload of a job under test, and what happens to it until it ends.

As JSON, for `python -m acked.testing`:

    {
      "payload": {"id": 7},
      "events": [
        {"signal": "hint", "after": "start"},
        {"signal": "paid", "value": 100, "id": "p-1"},
        {"days": 30}
      ]
    }

Events happen in order, each once the job is parked: a signal is sent, or the clock is moved. A signal with `after` is
sent before the first attempt ("start"), or as soon as a step of that identity is recorded, while the job runs.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from acked.testing.long_work import LongWork

START = "start"


class KitPlanError(ValueError):
    """A plan can't be used; the message says why."""


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal, or a move of the clock."""

    signal: str | None = None
    value: Any = None
    id: str | None = None
    after: str | None = None
    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0

    def __post_init__(self) -> None:
        moves = bool(self.days or self.hours or self.minutes or self.seconds)
        if moves == (self.signal is not None):
            raise ValueError("an event is either a signal or a move of the clock (days, hours, minutes, seconds)")
        if moves and (self.after is not None or self.id is not None or self.value is not None):
            raise ValueError("value, id and after belong to a signal")


class KitPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a job, and what happens to it."""

    payload: Any = None
    events: tuple[Event, ...] = ()


def read_plan(path: Path) -> KitPlan:
    """Read a plan from a JSON file. Raise `KitPlanError`, which names the fault."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KitPlan)
    except OSError as error:
        raise KitPlanError(f"the plan {path} can't be read: {error}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise KitPlanError(f"the plan {path} can't be used: {error}. A plan has payload and events") from None


def plan_of(payload: Any, plan: "KitPlan | Sequence[Event] | None") -> KitPlan:
    """Return a plan with this payload. Raise `KitPlanError` for something else than events."""
    if isinstance(plan, KitPlan):
        return KitPlan(plan.payload if payload is None else payload, plan.events)
    events = tuple(plan or ())
    for event in events:
        if not isinstance(event, Event):
            raise KitPlanError(f"a plan is a KitPlan or a list of Event, such as Event(days=30), not {event!r}")
    return KitPlan(payload, events)


async def play(job: LongWork, plan: KitPlan) -> None:
    """Run a job through a plan. Events after its end have no effect."""
    for event in plan.events:
        if event.signal is not None and event.after == START:
            job.send(event.signal, event.value, event.id)
        elif event.signal is not None and event.after is not None:
            job.when_recorded(event.after, event.signal, event.value, event.id)
    await job.until_parked()
    for event in plan.events:
        if job.has_ended:
            return
        if event.signal is None:
            await job.advance(
                **{unit: value for unit in ("days", "hours", "minutes", "seconds") if (value := getattr(event, unit))}
            )
            await job.until_parked()
        elif event.after is None:
            await job.signal(event.signal, event.value, event.id)
        # The loop of the test stays responsive during long plans.
        await asyncio.sleep(0)
