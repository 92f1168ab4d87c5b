"""The state machine of one lane: when it claims, requests more, fits its prefetch, returns bundles. Pure.

`LaneRunner` calls it on every event and performs its decisions. The numbers follow the rules in `prefetch`.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from acked_worker.consume import prefetch
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.limited_claims import LaneLimits

RUNS_REMEMBERED = 50
RUNS_BETWEEN_LOOKS = 10
"""Arrived bundles and ended attempts between two fits of the prefetch. Bundles count too, because long jobs rarely
end."""

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """One lane of one worker process."""

    lane: str
    kinds: tuple[str, ...]
    """The kinds that this worker serves on the lane."""
    worker: str
    boot: str
    times: KindTimes
    hold_s: float
    """How long an acknowledgement waits for a free slot before the consumer pauses."""
    limits: LaneLimits | None = None
    """How the lane claims jobs of kinds with a limit; None if it ignores limits."""


class Unclaimed(NamedTuple, Generic[B]):
    """A bundle that waits for slots."""

    bundle: B
    jobs: int
    came_at: float
    patience_s: float
    """How long it waits before it returns; infinite if it has reached its limit of returns."""


class LaneState(Generic[B]):
    """The held bundles of one lane, and statistics of recent ones. `B` is a held bundle.

    A bundle is held from its arrival to its acknowledgement or return, and unclaimed until it is taken.
    """

    def __init__(self, slots: int) -> None:
        """`slots`: those of the lane's pool."""
        self._slots = slots
        self._unclaimed: deque[Unclaimed[B]] = deque()
        self._recent_runs_s: deque[float] = deque(maxlen=RUNS_REMEMBERED)
        self._recent_bundles: deque[int] = deque(maxlen=RUNS_REMEMBERED)
        """Their numbers of jobs."""
        self._until_fit = RUNS_BETWEEN_LOOKS
        self._most_in_hand = 0
        self.in_hand = 0
        self.prefetch = 1
        self.is_quick = False

    # Bundles.

    def arrive(self, bundle: B, jobs: int, at: float, *, returns: int = 0) -> bool:
        """Hold a bundle that was returned this often before. Return whether to fit the prefetch now."""
        self._recent_bundles.append(jobs)
        self.in_hand += 1
        self._most_in_hand = max(self._most_in_hand, self.in_hand)
        self._unclaimed.append(Unclaimed(bundle, jobs, at, prefetch.patience_s(returns)))
        return self._is_time_to_fit()

    def put_back(self, bundle: B, jobs: int, at: float, *, returns: int) -> None:
        """Put a bundle back whose claim did not happen: it is unclaimed again, ahead of the others."""
        self._unclaimed.appendleft(Unclaimed(bundle, jobs, at, prefetch.patience_s(returns)))

    @property
    def has_unclaimed(self) -> bool:
        """Whether a bundle waits for slots."""
        return bool(self._unclaimed)

    def next_to_claim(self, fits: Callable[[int, int], bool]) -> Unclaimed[B] | None:
        """Take the oldest unclaimed bundle, if it may be claimed now.

        `fits` gets the number of jobs, and how many of them are ahead of slots about to be free.
        """
        if not self._unclaimed:
            return None
        if not fits(self._unclaimed[0].jobs, prefetch.ahead(self._slots, quick=self.is_quick)):
            return None
        return self._unclaimed.popleft()

    def returns_at(self) -> float | None:
        """Return when all waiting bundles return together; None if none waits.

        The longest wait decides, because fewer returns are worth the delay of the others.
        """
        waiting = [one for one in self._unclaimed if one.patience_s < math.inf]
        return waiting[0].came_at + max(one.patience_s for one in waiting) if waiting else None

    def return_unclaimed(self) -> list[B]:
        """Release the unclaimed bundles that may return, last one first, since each returns to the head of its
        queue."""
        found = [one.bundle for one in reversed(self._unclaimed) if one.patience_s < math.inf]
        self._unclaimed = deque(one for one in self._unclaimed if one.patience_s == math.inf)
        self.in_hand -= len(found)
        return found

    def drop_unclaimed(self) -> None:
        """Claim no held bundle: the broker delivers them to other workers once the channel is closed."""
        self._unclaimed.clear()

    def may_ask(self, room: int) -> bool:
        """Return whether one more bundle may be requested; `room` is that of the lane (see `LaneSlots.room_to_ask`)."""
        asked = self.prefetch - self.in_hand
        return prefetch.may_ask(asked=asked, room=room, sizes=self._recent_bundles, quick=self.is_quick)

    def let_go(self) -> None:
        """Note that one bundle is acknowledged, or will be at once."""
        self.in_hand -= 1

    # Prefetch.

    def note_run(self, run_s: float) -> bool:
        """Note the length of a run. Return whether to fit the prefetch now."""
        self._recent_runs_s.append(run_s)
        return self._is_time_to_fit()

    def fit(self, room: int) -> bool:
        """Update whether the lane is quick, and fit the prefetch if that is worth a new consumer. Return whether it has
        changed."""
        run_s = statistics.median(self._recent_runs_s) if self._recent_runs_s else None
        self.is_quick = prefetch.is_quick(run_s, was_quick=self.is_quick)
        most_in_hand, self._most_in_hand = self._most_in_hand, self.in_hand
        fitted = prefetch.refitted(
            self.prefetch,
            slots=self._slots,
            room=room,
            sizes=self._recent_bundles,
            quick=self.is_quick,
            most_in_hand=most_in_hand,
        )
        return self._change_prefetch(fitted)

    def fit_new_consumer(self, room: int) -> bool:
        """Fit the prefetch to the room, because a new consumer starts anyway. Return whether it has changed."""
        return self._change_prefetch(
            prefetch.fitting(slots=self._slots, room=room, sizes=self._recent_bundles, quick=self.is_quick)
        )

    def _change_prefetch(self, bundles: int) -> bool:
        has_changed = bundles != self.prefetch
        self.prefetch = bundles
        return has_changed

    def _is_time_to_fit(self) -> bool:
        self._until_fit -= 1
        if self._until_fit:
            return False
        self._until_fit = RUNS_BETWEEN_LOOKS
        return True
