"""OWNER of the failpoints: places at which a test kills, fails or stalls a process. Off, and free, in all other runs.

`ACKED_CRASH=point:n:what` arms one of them. At the n-th arrival, `kill` ends the process with SIGKILL, `raise` makes
the place fail, and `sleep=seconds` stalls the thread, as a pause of the whole machine would.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from acked_common.model.numbers import decimal, whole
from acked_common.runtime.logs import get_log, say_now

log = get_log(__name__)

Point = Literal[
    "intake.parsed",
    "intake.inserting",
    "intake.inserted",
    "intake.answering",
    "intake.delivery-inserted",
    "outbox.publishing",
    "outbox.published",
    "worker.delivered",
    "worker.claiming",
    "worker.claimed",
    "worker.acking",
    "worker.acked",
    "worker.handling",
    "worker.step-recording",
    "worker.step-recorded",
    "worker.parking",
    "worker.parked",
    "worker.recording",
    "worker.recorded",
    "worker.reporting",
    "sweeper.taking-back",
    "sweeper.took-back",
    "sweeper.reserved",
    "sweeper.republished",
    "sweeper.resumed",
    "gateway.signal-pushed",
    "gateway.signal-woke",
    "gateway.wait-ended",
    "schedules.decided",
    "schedules.inserted",
    "bulk.paged",
    "bulk.applied",
    "bulk.counted",
]
"""The names: a part, then the event that is about to happen (-ing) or has just happened (-ed)."""

What = Literal["kill", "raise", "sleep"]


class FailpointHit(Exception):
    """The error of a failpoint that is armed with `raise`."""


@dataclass(frozen=True, slots=True)
class FailpointPlan:
    """The effect of the `nth` arrival at a point."""

    point: Point
    nth: int
    what: What
    sleep_s: float = 0.0


def parse_plan(text: str) -> FailpointPlan:
    """Parse `point:n:what`. Raise `ValueError`, which states the problem."""
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError("must be point:n:what, e.g. worker.claimed:3:kill")
    what, _, seconds = parts[2].partition("=")
    for point in get_args(Point):
        if point == parts[0]:
            break
    else:
        raise ValueError(f"unknown failpoint {parts[0]!r}; there are {', '.join(get_args(Point))}")
    try:
        nth = whole(parts[1])
    except ValueError:
        nth = 0
    if not nth:
        raise ValueError(f"{parts[1][:40]!r} is no number from 1")
    match what:
        case "kill" | "raise" if not seconds:
            return FailpointPlan(point, nth, "kill" if what == "kill" else "raise")
        case "sleep":
            try:
                sleep_s = decimal(seconds)
            except ValueError:
                sleep_s = -1.0
            if 0 < sleep_s <= 3600:
                return FailpointPlan(point, nth, "sleep", sleep_s)
    raise ValueError(f"{parts[2]!r} must be kill, raise or sleep=seconds, up to 3600")


def _nothing(point: Point) -> None:
    """Do nothing, as every point does in a real run."""


reach: Callable[[Point], None] = _nothing
"""Called at each point, as `failpoints.reach(…)`: `arm` replaces it."""


def arm(plan: FailpointPlan | None) -> None:
    """Arm a plan; call this once at start, before anything runs. None: all points do nothing."""
    global reach
    if plan is None:
        reach = _nothing
        return
    log.warning(
        "A FAILPOINT IS ARMED: this process will break. Unset ACKED_CRASH, which is for tests only",
        point=plan.point,
        nth=plan.nth,
        what=plan.what,
    )
    reach = _armed(plan)


def _armed(plan: FailpointPlan) -> Callable[[Point], None]:
    arrivals = itertools.count(1)

    def arrive(point: Point) -> None:
        if point != plan.point or next(arrivals) != plan.nth:
            return
        # Not through the logs: the process may be gone before they are written.
        say_now(f'{{"event": "failpoint", "point": "{point}", "what": "{plan.what}", "level": "error"}}\n')
        if plan.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif plan.what == "raise":
            raise FailpointHit(f"asked for at {point}")
        else:
            time.sleep(plan.sleep_s)

    return arrive
