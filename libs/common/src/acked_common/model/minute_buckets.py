"""OWNER of the minute buckets: counts of jobs by tenant, kind and minute, and durations as sketches. Pure.

Each process counts in memory and writes its counts every few seconds. A bucket belongs to a step: minutes for the last
hour, ten minutes for the last day, hours for the last eight days, so every window is few documents. A tenant also has a
total over its kinds. A kind also has its starts over all tenants, which give the rate of a shared lane.

A sketch counts durations between fixed bounds, ten per decade, so a quantile is off by at most an eighth.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from acked_common.model.lifecycle import LIVE, TERMINAL, Reason, State, Transition

MAX_SERIES = 500
"""The maximum of pairs of tenant and kind that a process counts separately between two writes. Further kinds count only
in their tenant's total, for at most this many tenants."""

ACCEPTED = "accepted"
STARTED = "started"
BACKED_OFF = "backed_off"
"""Attempts that failed or crashed and are retried."""
REQUEUED = "requeued"
"""Attempts that ended without a failure of their own: drained, not started, or lost with their worker."""
ENDS = tuple(sorted(state.value for state in TERMINAL))
COUNTED = (ACCEPTED, STARTED, *ENDS, BACKED_OFF, REQUEUED)
"""The counts of a bucket."""

WAIT = "wait"
RUN = "run"
SKETCHES = (WAIT, RUN)
"""The times from queued to started, and the durations of attempts."""

BOUNDS_S = tuple(10 ** (n / 10 - 3) for n in range(91))
"""Upper bounds of a sketch, from a millisecond to eleven days; longer durations count in a last span."""

_SPANS = {sketch: tuple(f"{sketch}.{n}" for n in range(len(BOUNDS_S) + 1)) for sketch in SKETCHES}

MINUTE_S = 60
TEN_MINUTES_S = 600
HOUR_S = 3600
STEPS_S = (MINUTE_S, TEN_MINUTES_S, HOUR_S)
MOST_READ = 10_000
"""The maximum of buckets that a read of one series returns, newest first: 52 processes over the longest window."""
KEPT_S: Mapping[int, int] = {MINUTE_S: 2 * HOUR_S, TEN_MINUTES_S: 26 * HOUR_S, HOUR_S: 8 * 24 * HOUR_S + 2 * HOUR_S}
"""How long a bucket of each step is stored after its beginning."""


class Window(Struct, frozen=True):
    """A span back from now: a number of points, `step_s` apart."""

    step_s: int
    points: int


WINDOWS: Mapping[str, Window] = {
    "15m": Window(MINUTE_S, 15),
    "1h": Window(MINUTE_S, 60),
    "24h": Window(TEN_MINUTES_S, 144),
    "8d": Window(HOUR_S, 192),
}


class Bucket(Struct, frozen=True):
    """The counts of one process for `step_s` seconds from `at` on. `tenant` is None over all tenants, `kind` over all
    kinds. `counts` has names of `COUNTED`, and `wait.<n>` and `run.<n>` for the n-th span of a sketch."""

    tenant: str | None
    kind: str | None
    step_s: int
    at: datetime
    counts: Mapping[str, int]


class Point(Struct, frozen=True):
    """The counts of all processes in one step of a window."""

    at: datetime
    counts: Mapping[str, int]


_Key = tuple[str | None, str | None, int, int]


def counted_as(seen: State, transition: Transition) -> str | None:
    """Return the count that a transition raises; None if it ends neither an attempt nor a run.

    A resolve of an ended job counts nothing, because the run has already ended. A park counts nothing, because the
    attempt did what it could.
    """
    if seen not in LIVE or transition.to is State.WAITING:
        return None
    if transition.to in TERMINAL:
        return transition.to.value
    if seen is State.RUNNING and transition.to is not State.RUNNING:
        return BACKED_OFF if transition.reason in (Reason.BACKING_OFF, Reason.CRASHED) else REQUEUED
    return None


def span_of(sketch: str, seconds: float) -> str:
    """Return the count of a sketch that a duration raises."""
    return _SPANS[sketch][bisect_left(BOUNDS_S, seconds)]


class MinuteCounts:
    """The counts of a process that are not written yet. Bounded to `most` series, and as many totals of tenants."""

    def __init__(self, most: int = MAX_SERIES) -> None:
        self._most = most
        self._series: dict[tuple[int, str, str], dict[str, int]] = {}
        self._rests: dict[tuple[int, str], dict[str, int]] = {}
        self._uncounted: dict[str, int] = {}
        self._minute = 0
        self._at: datetime | None = None
        """The instant of the cached minute, since many callers pass the same one."""

    @property
    def uncounted(self) -> int:
        """The number of events dropped since the last `take`, because of too many tenants."""
        return sum(count for name, count in self._uncounted.items() if name in COUNTED)

    def series(self, at: datetime, tenant: str, kind: str) -> dict[str, int]:
        """Return the counts of a kind in the minute of an instant, which the caller raises at once (see `add`)."""
        if at is not self._at:
            self._at, self._minute = at, int(at.timestamp()) // MINUTE_S
        minute = self._minute
        found = self._series.get((minute, tenant, kind))
        if found is not None:
            return found
        if len(self._series) < self._most:
            return self._series.setdefault((minute, tenant, kind), {})
        if (minute, tenant) in self._rests or len(self._rests) < self._most:
            return self._rests.setdefault((minute, tenant), {})
        return self._uncounted

    def take(self) -> list[Bucket]:
        """Return all counts as buckets of every step, and reset them."""
        found: dict[_Key, dict[str, int]] = {}
        for (minute, tenant, kind), counts in self._series.items():
            for step_s, at_s in _steps(minute):
                _merge(found.setdefault((tenant, kind, step_s, at_s), {}), counts)
                _merge(found.setdefault((tenant, None, step_s, at_s), {}), counts)
            if STARTED in counts:
                at_s = minute * MINUTE_S
                _merge(found.setdefault((None, kind, MINUTE_S, at_s), {}), {STARTED: counts[STARTED]})
        for (minute, tenant), counts in self._rests.items():
            for step_s, at_s in _steps(minute):
                _merge(found.setdefault((tenant, None, step_s, at_s), {}), counts)
        self._series, self._rests, self._uncounted = {}, {}, {}
        return [
            Bucket(tenant, kind, step_s, _instant(at_s), counts)
            for (tenant, kind, step_s, at_s), counts in found.items()
            if counts
        ]


def add(counts: dict[str, int], name: str, by: int = 1) -> None:
    """Raise one count."""
    counts[name] = counts.get(name, 0) + by


def window_points(buckets: Iterable[Bucket], window: Window, now: datetime) -> list[Point]:
    """Return the points of a window, oldest first; the last one is the step of `now`. Sum the buckets of all processes,
    and ignore those outside of the window."""
    first_s = int(window_begin(window, now).timestamp())
    counts: list[dict[str, int]] = [{} for _ in range(window.points)]
    for bucket in buckets:
        place = (int(bucket.at.timestamp()) - first_s) // window.step_s
        if 0 <= place < window.points:
            _merge(counts[place], bucket.counts)
    return [Point(_instant(first_s + n * window.step_s), found) for n, found in enumerate(counts)]


def added_up(points: Iterable[Point]) -> dict[str, int]:
    """Return the counts of all points together."""
    counts: dict[str, int] = {}
    for point in points:
        _merge(counts, point.counts)
    return counts


def window_begin(window: Window, now: datetime) -> datetime:
    """Return the beginning of the oldest step of a window that ends with the step of `now`."""
    return _floor(now, window.step_s) - timedelta(seconds=window.step_s * (window.points - 1))


def quantile_s(counts: Mapping[str, int], sketch: str, share: float) -> float | None:
    """Return the quantile of a sketch, to three digits; None for an empty sketch."""
    spans = sorted((int(name[len(sketch) + 1 :]), n) for name, n in counts.items() if name.startswith(f"{sketch}."))
    wanted = share * sum(n for _, n in spans)
    passed = 0
    for span, n in spans:
        if passed + n >= wanted and n:
            return _within(span, (wanted - passed) / n)
        passed += n
    return None


class Span(Struct, frozen=True):
    """Durations of a sketch between two bounds, in seconds; the last span has no upper one."""

    from_s: float
    to_s: float | None
    count: int


def spans_of(counts: Mapping[str, int], sketch: str) -> list[Span]:
    """Return the spans of a sketch that have durations, shortest first."""
    found = []
    for span, name in enumerate(_SPANS[sketch]):
        if count := counts.get(name, 0):
            lower = _rounded_s(BOUNDS_S[span - 1]) if span else 0.0
            upper = _rounded_s(BOUNDS_S[span]) if span < len(BOUNDS_S) else None
            found.append(Span(lower, upper, count))
    return found


def start_rate_per_s(starts: Sequence[Bucket], now: datetime) -> float | None:
    """Return the rate of starts per second from the current minute and the two before; None if it is unknown.

    Counts of the current minute may not be written yet. The last minute counts only if jobs also started before it:
    otherwise its idle part would make a new queue look slow.
    """
    this_minute = _floor(now, MINUTE_S)
    before = this_minute - timedelta(seconds=MINUTE_S)
    in_this = sum(bucket.counts.get(STARTED, 0) for bucket in starts if bucket.at == this_minute)
    in_last = sum(bucket.counts.get(STARTED, 0) for bucket in starts if bucket.at == before)
    if not in_last or not any(bucket.counts.get(STARTED, 0) for bucket in starts if bucket.at < before):
        return None
    return max(in_last / MINUTE_S, in_this / max(1.0, (now - this_minute).total_seconds()))


def _within(span: int, share: float) -> float:
    """Return a duration inside a span, interpolated on a logarithmic scale."""
    if span >= len(BOUNDS_S):
        return BOUNDS_S[-1]
    upper = BOUNDS_S[span]
    lower = BOUNDS_S[span - 1] if span else upper / 10
    return _rounded_s(lower * (upper / lower) ** min(1.0, max(0.0, share)))


def _rounded_s(seconds: float) -> float:
    return float(f"{seconds:.3g}")


def _merge(into: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        into[name] = into.get(name, 0) + count


def _steps(minute: int) -> list[tuple[int, int]]:
    """Return the beginning of each step that contains a minute, in seconds since the epoch."""
    at_s = minute * MINUTE_S
    return [(step_s, at_s - at_s % step_s) for step_s in STEPS_S]


def _floor(at: datetime, step_s: int) -> datetime:
    at_s = int(at.timestamp())
    return _instant(at_s - at_s % step_s)


def _instant(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
