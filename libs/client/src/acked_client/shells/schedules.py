"""Schedules, blocking."""

from collections.abc import Iterator
from datetime import datetime

from acked_client.core import schedules
from acked_client.core.exchange import Session
from acked_client.model.requests import ScheduleDefinition
from acked_client.model.schedules import Firing, ScheduleBackfill, ScheduleDetails, SchedulePreview, ScheduleSummary
from acked_client.shells.blocking import Driver


class ScheduleHandle:
    """A schedule by its name, whether it is defined yet or not."""

    def __init__(self, driver: Driver, session: Session, name: str) -> None:
        self._driver = driver
        self._session = session
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def put(self, definition: ScheduleDefinition) -> ScheduleDetails:
        """Define the schedule, or replace its definition. The same definition again changes nothing."""
        return self._driver.run(schedules.put(self._session, self.name, definition))

    def details(self) -> ScheduleDetails:
        """Return the schedule: its definition, its next instant and its newest firing."""
        return self._driver.run(schedules.details(self._session, self.name))

    def delete(self) -> ScheduleDetails:
        """Delete the schedule and return it as it was. Its jobs stay."""
        return self._driver.run(schedules.delete(self._session, self.name))

    def pause(self, *, reason: str | None = None) -> ScheduleDetails:
        """Stop the schedule from firing. Its jobs continue; a second pause does not replace the first."""
        return self._driver.run(schedules.pause(self._session, self.name, reason))

    def resume(self) -> ScheduleDetails:
        """Let the paused schedule fire again. What was due meanwhile is not caught up."""
        return self._driver.run(schedules.resume(self._session, self.name))

    def run_now(self) -> Firing:
        """Fire the schedule now, also while it is paused.

        An intake decides it within two seconds, by the rule for overlaps; `firings` shows the outcome.
        """
        return self._driver.run(schedules.run_now(self._session, self.name))

    def backfill(
        self, from_at: datetime | str, until_at: datetime | str | None = None, *, limit: int | None = None
    ) -> ScheduleBackfill:
        """Let past instants fire, from `from_at` and before `until_at` (default: now), at most `limit` (1,000).

        An instant that has a job is passed over, so a repetition starts nothing twice. Where firings may not overlap,
        the jobs run one after the other; `details` shows how far it is.
        """
        return self._driver.run(schedules.backfill(self._session, self.name, from_at, until_at, limit))

    def next(self, count: int = 20) -> SchedulePreview:
        """Return the next instants, ascending: at most 5,000, and those of 50 years."""
        return self._driver.run(schedules.preview(self._session, self.name, count))

    def preview(self, definition: ScheduleDefinition, count: int = 20) -> SchedulePreview:
        """Return when a definition would be due under this name, checked as `put` checks it. Nothing is stored."""
        return self._driver.run(schedules.preview_of(self._session, self.name, definition, count))

    def firings(self) -> list[Firing]:
        """Return the newest 100 firings with their outcomes, newest first."""
        return self._driver.run(schedules.firings(self._session, self.name))


class ScheduleCalls:
    """The calls of `Acked` that concern schedules."""

    _driver: Driver
    _session: Session

    def schedule(self, name: str) -> ScheduleHandle:
        """Return the handle of a schedule, without a request; its `put` defines it."""
        return ScheduleHandle(self._driver, self._session, name)

    def schedules(self) -> Iterator[ScheduleSummary]:
        """Iterate over the schedules, by name."""
        return self._driver.pages(schedules.schedules(self._session))
