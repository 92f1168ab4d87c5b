"""How many bundles a lane holds, and when it asks for another one. Pure.

A bundle in hand costs a round trip to the broker and two to MongoDB before its jobs start. With one bundle at a time a
lane starts `bundle / round trips` jobs a second however many slots are free: 4 ms of distance and bundles of one job
make that 40. So a lane holds as many bundles as its free slots can run at once.

The size of a bundle is known only when it arrives: intake makes bundles of 1 at low load and of 32 under backlog. Three
rules keep that from overfilling the worker:

- **Prefetch** is the credit that the broker may use at any moment, so it is fitted to the room that there is when a
  consumer starts. The broker takes a new prefetch from a new consumer alone (cancel, qos, consume: three round trips
  without a delivery). So it is raised only when the credit was used up and at least twice as much fits, and lowered
  only when the bundles have grown to more than twice what all slots could run.
- **Asking** (the acknowledgement) hands one credit back. A lane does so while the bundles that it has asked for, at
  their largest recent size, fit into the room.
- **Claiming** is where the limit holds, whatever arrives: `Slots.fits` counts what runs and what is being claimed, of
  all lanes of the pool. A bundle that does not fit waits for a moment, then goes back to the broker.

A bundle that goes back spends one of the returns that RabbitMQ before 4.3 allows it: at the queue's delivery limit it
is dead-lettered, though nothing was wrong with it. Lanes that race for few slots could spend all of them in minutes. So
the wait doubles with every five returns, from a second to two minutes, and from `MOST_RETURNS` on the worker holds the
bundle until it fits: waiting never reaches the limit, and what is left of it is for workers that crash. RabbitMQ 4.3
counts failures alone; the count stays 0 there, and the wait a second.

Lanes of quick kinds turn their slots over faster than a claim takes. They hold what fills the slots twice, so that one
claim gathers its jobs while another is under way, and may claim so many ahead.
"""

import math
import statistics
from collections.abc import Sequence

from acked_common.broker.rabbitmq.topology import DELIVERY_LIMIT

QUICK_RUN_S = 0.05
SLOW_RUN_S = 0.1
"""A lane becomes quick below the first median run and slow above the second."""
LEAST_QUICK = 4
MOST = 32
"""Bundles in hand of one lane."""
AHEAD = 1.5
"""Of the slots: less makes claims smaller. With as many as the slots, claims of no-ops take 206 jobs instead of 222."""

FITS_WITHIN_S = 1.0
"""A bundle that arrives while no slot is free waits so long for one, unclaimed, before it first goes back."""
RETURNS_PER_DOUBLING = 5
MOST_RETURNS = DELIVERY_LIMIT - 10
"""Of one bundle for want of a slot; the rest is for crashes, drains and lost connections."""


def is_quick(run_s: float | None, *, was_quick: bool) -> bool:
    """Whether a lane with this median run is quick; a lane of which no run has ended is not."""
    if run_s is None:
        return False
    return run_s < QUICK_RUN_S or (was_quick and run_s <= SLOW_RUN_S)


def largest(sizes: Sequence[int]) -> int:
    """The jobs that the next bundle may hold, by the recent ones; at least 1."""
    return max(1, *sizes) if sizes else 1


def fitting(*, slots: int, room: int, sizes: Sequence[int], quick: bool) -> int:
    """The bundles to hold: what fills the slots twice for quick lanes, what fits into the `room` for others."""
    if quick:
        jobs = max(1.0, statistics.fmean(sizes or [1]))
        # An even number, so that bundles of another size seldom ask for another consumer.
        return min(MOST, max(LEAST_QUICK, 2 * math.ceil(slots / jobs)))
    return min(MOST, max(1, room // largest(sizes)))


def refitted(current: int, *, slots: int, room: int, sizes: Sequence[int], quick: bool, most_in_hand: int) -> int:
    """The prefetch to go on with: `current` unless a new consumer is worth its round trips.

    `most_in_hand` is the number of bundles that were in hand at once since the last look.
    """
    wanted = fitting(slots=slots, room=room, sizes=sizes, quick=quick)
    if quick:
        return wanted if current < wanted or current > 2 * wanted else current
    if wanted >= 2 * current and most_in_hand >= current:
        return wanted
    # What is free changes all the time, and holding back acknowledgements follows it: only the size of bundles counts.
    could = fitting(slots=slots, room=slots, sizes=sizes, quick=False)
    return wanted if current > 2 * could else current


def may_ask(*, asked: int, room: int, sizes: Sequence[int], quick: bool) -> bool:
    """Whether one more bundle may be asked for, beside `asked` that the broker may send already."""
    if room <= 0:
        return False
    return quick or asked < max(1, room // largest(sizes))


def ahead(slots: int, *, quick: bool) -> int:
    """The jobs that a lane may claim beyond the free slots, because as many end before the claim returns."""
    return int(AHEAD * slots) if quick else 0


def patience_s(returns: int) -> float:
    """How long a bundle waits for a slot before it goes back, by how often it was returned; infinite at the last."""
    if returns >= MOST_RETURNS:
        return math.inf
    return FITS_WITHIN_S * 2.0 ** (max(0, returns) // RETURNS_PER_DOUBLING)
