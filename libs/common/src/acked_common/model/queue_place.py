"""The position of a job in the queue of its kind, and the rate of that queue, from counts of queued jobs. Pure.

A look counts queued jobs by kind and by the tenth of a second in which they were queued. One look yields the positions
of all jobs, so many requests cost one look.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

SPAN_S = 0.1
"""The span of time whose jobs are counted together."""
_SPAN_MS = int(SPAN_S * 1000)
MOST_LOOKED_AT = 10_000


class QueuedShare(Struct, frozen=True):
    """The number of queued jobs of a kind, of all tenants, that were queued within `SPAN_S` from `from_at` on."""

    kind: str
    from_at: datetime
    count: int


class Place(Struct, frozen=True):
    """The position of a job among those of its kind."""

    ahead: int
    """Jobs of all tenants that were queued before it."""
    is_more: bool = False
    """Whether there may be more, because the look did not count all jobs."""
    starts_per_s: float | None = None
    """The recent rate of starts per second; None if unknown."""

    @property
    def starts_in_s(self) -> float | None:
        """Return the seconds until the job starts at this rate; None if the rate is unknown, or too small to tell."""
        in_s = (self.ahead + 1) / self.starts_per_s if self.starts_per_s else math.inf
        return in_s if math.isfinite(in_s) else None


class QueueLook:
    """The queued jobs at one instant of the monotonic clock."""

    def __init__(self, shares: Iterable[QueuedShare], *, at_s: float, most: int = MOST_LOOKED_AT) -> None:
        """`most` is the maximum of jobs that were counted."""
        self.at_s = at_s
        spans: dict[str, list[tuple[int, int]]] = {}
        total = 0
        for share in shares:
            spans.setdefault(share.kind, []).append((_ms(share.from_at), share.count))
            total += share.count
        self.is_cut = total >= most
        self._begins: dict[str, list[int]] = {}
        self._passed: dict[str, list[int]] = {}
        """The number of jobs before each span, and finally of all."""
        for kind, found in spans.items():
            found.sort()
            passed = [0]
            for _, count in found:
                passed.append(passed[-1] + count)
            self._begins[kind] = [begin for begin, _ in found]
            self._passed[kind] = passed

    def ahead(self, kind: str, queued_at: datetime) -> Place:
        """Return the position of a job, without a rate; jobs of its own span count in proportion."""
        begins = self._begins.get(kind, [])
        at_ms = _ms(queued_at)
        is_behind_all = not begins or at_ms >= begins[-1] + _SPAN_MS
        return Place(self.before(kind, at_ms), is_more=self.is_cut and is_behind_all)

    def before(self, kind: str, at_ms: int) -> int:
        """Count the jobs of a kind that were queued before an instant, in milliseconds since the epoch."""
        begins = self._begins.get(kind)
        if not begins:
            return 0
        passed = self._passed[kind]
        span = bisect_left(begins, at_ms)
        if not span:
            return 0
        inside = passed[span] - passed[span - 1]
        return passed[span - 1] + inside * min(_SPAN_MS, at_ms - begins[span - 1]) // _SPAN_MS

    def newest_ms(self, kind: str) -> int | None:
        """Return the beginning of the newest span of a kind, for `before`; None if no job of the kind waits."""
        begins = self._begins.get(kind)
        return begins[-1] if begins else None


def starts_per_s(earlier: QueueLook, later: QueueLook, kind: str) -> float | None:
    """Return the rate at which jobs left the queue between two looks; None if it is unknown.

    Both looks count only jobs that are older than the newest job of the earlier one, so later arrivals do not count.
    """
    newest_ms = earlier.newest_ms(kind)
    passed_s = later.at_s - earlier.at_s
    if newest_ms is None or passed_s <= 0:
        return None
    left = earlier.before(kind, newest_ms) - later.before(kind, newest_ms)
    return max(0, left) / passed_s


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
