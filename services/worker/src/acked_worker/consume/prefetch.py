"""How many bundles a lane holds, and when it requests another one. Pure.

A bundle costs one round trip to the broker and two to MongoDB before its jobs start. With one bundle at a time, a lane
starts `bundle / round trips` jobs per second, however many slots are free: 40 with 4 ms latency and bundles of one job.
So a lane holds as many bundles as its free slots can run at once.

The size of a bundle is known only when it arrives: intake makes bundles of 1 at low load and of 32 under backlog. Three
rules keep that from overfilling the worker:

- **Prefetch** is the credit that the broker may use at any moment, so it is fitted to the room when a consumer starts.
  The broker accepts a new prefetch only from a new consumer (cancel, qos, consume: three round trips without a
  delivery). So the prefetch is raised only when the credit was used up and at least twice as much fits. It is lowered
  only when the bundles have grown to more than twice what all slots could run.
- **Requesting** (the acknowledgement) returns one credit. A lane does so while the requested bundles, at their largest
  recent size, fit into the room.
- **Claiming** enforces the limit, whatever arrives: `Slots.fits` counts running jobs and claims in flight of all lanes
  of the pool. A bundle that does not fit waits for a moment, then returns to the broker.

RabbitMQ before 4.3 counts returns: at the queue's delivery limit it dead-letters a valid bundle. Lanes that race for
few slots could reach the limit in minutes. So the wait doubles with every five returns, from a second to two minutes,
and from `MOST_RETURNS` on the worker holds the bundle until it fits. Waiting thus never reaches the limit; the rest of
it is for workers that crash. RabbitMQ 4.3 counts only failures, so there the count stays 0 and the wait a second.

Lanes of quick kinds reuse their slots faster than a claim takes. They hold enough bundles to fill the slots twice, so
that one claim gathers its jobs while another is in flight, and may claim ahead by `AHEAD`.
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
"""The maximum of held bundles of one lane."""
AHEAD = 1.5
"""A multiple of the slots. A smaller one makes claims smaller: with 1.0, claims of no-ops have 206 jobs instead of
222."""

FITS_WITHIN_S = 1.0
"""How long an unclaimed bundle waits for a slot before its first return."""
RETURNS_PER_DOUBLING = 5
MOST_RETURNS = DELIVERY_LIMIT - 10
"""The maximum of returns of one bundle for lack of a slot; the rest is for crashes, drains and lost connections."""


def is_quick(run_s: float | None, *, was_quick: bool) -> bool:
    """Return whether a lane with this median run is quick. A lane without an ended run is not."""
    if run_s is None:
        return False
    return run_s < QUICK_RUN_S or (was_quick and run_s <= SLOW_RUN_S)


def largest(sizes: Sequence[int]) -> int:
    """Return the maximum of jobs to expect in the next bundle, from recent ones; at least 1."""
    return max(1, *sizes) if sizes else 1


def fitting(*, slots: int, room: int, sizes: Sequence[int], quick: bool) -> int:
    """Return the bundles to hold: enough to fill the slots twice for quick lanes, else those that fit into `room`."""
    if quick:
        jobs = max(1.0, statistics.fmean(sizes or [1]))
        # An even number, so that a different size of bundles rarely needs another consumer.
        return min(MOST, max(LEAST_QUICK, 2 * math.ceil(slots / jobs)))
    return min(MOST, max(1, room // largest(sizes)))


def refitted(current: int, *, slots: int, room: int, sizes: Sequence[int], quick: bool, most_in_hand: int) -> int:
    """Return the next prefetch: `current` unless a new consumer is worth its round trips.

    `most_in_hand` is the maximum of bundles held at once since the last fit.
    """
    wanted = fitting(slots=slots, room=room, sizes=sizes, quick=quick)
    if quick:
        return wanted if current < wanted or current > 2 * wanted else current
    if wanted >= 2 * current and most_in_hand >= current:
        return wanted
    # Acknowledgements already follow the free slots, so only the size of bundles counts here.
    could = fitting(slots=slots, room=slots, sizes=sizes, quick=False)
    return wanted if current > 2 * could else current


def may_ask(*, asked: int, room: int, sizes: Sequence[int], quick: bool) -> bool:
    """Return whether one more bundle may be requested, in addition to `asked` that the broker may already send."""
    if room <= 0:
        return False
    return quick or asked < max(1, room // largest(sizes))


def ahead(slots: int, *, quick: bool) -> int:
    """Return how many jobs a lane may claim beyond the free slots, because as many end before the claim returns."""
    return int(AHEAD * slots) if quick else 0


def patience_s(returns: int) -> float:
    """Return how long a bundle waits for a slot before it returns, by its number of returns; infinite at the limit."""
    if returns >= MOST_RETURNS:
        return math.inf
    return FITS_WITHIN_S * 2.0 ** (max(0, returns) // RETURNS_PER_DOUBLING)
