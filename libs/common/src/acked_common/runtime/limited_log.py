"""Limit log lines of repeated events: write the first line of each group at once, then at most one a minute.

Each line has the number of lines that were left out since the last one, so lines and `left_out` add up to all events.
Left out lines are reported when their minute is over, even without further events, and at a stop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

SAID_EVERY_S = 60.0
MAX_GROUPS = 1000
MIXED = {"left_out_of": "several groups"}
"""In lines of those groups for which there is no room."""


@dataclass(frozen=True, slots=True)
class Line:
    """A log line: a warning if `is_grave`, else at level info. `left_out` counts the lines that it represents beside
    itself."""

    event: str
    fields: Mapping[str, Any]
    is_grave: bool = False
    left_out: int = 0


@dataclass(slots=True)
class _Group:
    said_at: float
    waiting: Line | None = None
    """The line that will represent this minute: the newest grave one, else the newest."""
    held: int = 0
    """How many lines wait, that one included."""


class LineLimiter:
    """Decides which lines are written. Instants and durations are in seconds, of one monotonic clock.

    It remembers `most` groups, and forgets those that were silent longest. While all of them are in their minute,
    further groups share one place: no flood of groups makes more than `most` lines a minute and one.
    """

    def __init__(self, *, every_s: float = SAID_EVERY_S, most: int = MAX_GROUPS) -> None:
        self._every_s = every_s
        self._most = most
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        """Groups, ordered by their last line."""
        self._others = _Group(-inf)

    @property
    def due_at(self) -> float:
        """When the first waiting line is due; infinite if none waits."""
        groups = (self._others, *self._groups.values())
        return min((self._due_at(group) for group in groups if group.waiting is not None), default=inf)

    def offer(self, key: Hashable, line: Line, now: float) -> Line | None:
        """Return the line to write now; None if it must wait."""
        group = self._groups.get(key)
        if group is None and self._has_room(now):
            self._groups[key] = _Group(now)
            return line
        if group is None:
            group, line = self._others, replace(line, fields={**line.fields, **MIXED})
        if self._due_at(group) <= now:
            return self._said(key, group, replace(line, left_out=group.held), now)
        group.held += 1
        if group.waiting is None or line.is_grave or not group.waiting.is_grave:
            group.waiting = line
        return None

    def due_at_of(self, key: Hashable) -> float:
        """When a line that was offered with this key and waits is due."""
        return self._due_at(self._groups.get(key, self._others))

    def due(self, now: float) -> list[Line]:
        """Return what has waited until its minute was over."""
        return self._take(lambda group: self._due_at(group) <= now, now)

    def rest(self, now: float) -> list[Line]:
        """Return all that waits."""
        return self._take(lambda group: True, now)

    def _due_at(self, group: _Group) -> float:
        # The only place that computes this sum, so that rounding can't make a due line seem early.
        return group.said_at + self._every_s

    def _has_room(self, now: float) -> bool:
        """Whether there is room for one more group, if need be in the place of a silent one."""
        if len(self._groups) < self._most:
            return True
        key, oldest = next(iter(self._groups.items()))
        if oldest.waiting is not None or now < self._due_at(oldest):
            return False
        del self._groups[key]
        return True

    def _take(self, is_due: Callable[[_Group], bool], now: float) -> list[Line]:
        found: list[Line] = []
        for key, group in [(None, self._others), *self._groups.items()]:
            if group.waiting is not None and is_due(group):
                found.append(self._said(key, group, replace(group.waiting, left_out=group.held - 1), now))
        return found

    def _said(self, key: Hashable, group: _Group, line: Line, now: float) -> Line:
        group.said_at, group.waiting, group.held = now, None, 0
        if group is not self._others:
            self._groups.move_to_end(key)
        return line


class LimitedLog:
    """Writes the lines of one process to `log`, as a limiter decides. On one loop; no method waits."""

    def __init__(self, log: Any, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._limiter = LineLimiter()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        """The limiter's time at which the timer fires; infinite without one."""

    def say(self, group: Hashable, line: Line) -> None:
        """Write the line, or count it and report it later."""
        said = self._limiter.offer(group, line, self._monotonic())
        if said is not None:
            self._write(said)
        else:
            self._arm(self._limiter.due_at_of(group))

    def stop(self) -> None:
        """Report all lines that were left out since their group's last line."""
        self._disarm()
        for line in self._limiter.rest(self._monotonic()):
            self._write(line)

    def _arm(self, due_at: float) -> None:
        if due_at < self._timer_at:
            self._disarm()
            self._timer_at = due_at
            wait_s = max(0.0, due_at - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, inf

    def _on_due(self) -> None:
        # A loop may call a timer a moment early.
        now = max(self._timer_at, self._monotonic())
        self._disarm()
        for line in self._limiter.due(now):
            self._write(line)
        self._arm(self._limiter.due_at)

    def _write(self, line: Line) -> None:
        write = self._log.warning if line.is_grave else self._log.info
        write(line.event, **line.fields, left_out=line.left_out)
