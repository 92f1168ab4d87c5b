"""Follow jobs over the feed, across lost connections: every transition once, in order. Pure.

The feed promises no gap within a connection; a new connection begins with a snapshot of what is. What happened in
between stands in the history of each job, so the client reads the histories of the jobs that moved: of a few by their
status, of many by the list of the scope. `ShownRevisions` lets each revision through once, so frames, histories and
snapshots may overlap in any way.

A snapshot of more than 1,000 jobs has only counts. Then the client can't know which jobs moved. Of a batch it reads the
whole list. Of a kind, or of all jobs, it reads the jobs that had not ended, and those that were accepted since. Such a
watch begins with the live jobs, at most 20,000 in each state. Other jobs from before it are shown once they move, but
not what they did while the connection was lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NoReturn

from acked_client.core import frames
from acked_client.core.effects import (
    Closed,
    Connect,
    FeedFlow,
    HangUp,
    Hear,
    Lost,
    Pause,
    Response,
    Say,
    Show,
)
from acked_client.core.exchange import Session
from acked_client.core.failures import error_of, parse_problem
from acked_client.core.jobs import status
from acked_client.core.ledger import ShownRevisions, accepted_at, history_events
from acked_client.core.lists import Pages
from acked_client.core.retry import next_wait_s
from acked_client.model.errors import AckedError, LimitReached, NoResponse, Problem, ProblemError, Unavailable
from acked_client.model.jobs import HistoryLine, JobEvent, JobSummary
from acked_client.model.problems import BadMessage, MissingPermission, NotFound, UnknownToken, class_of
from acked_client.model.requests import RetryPolicy
from acked_client.model.states import ENDED, State

PATH = "/ws/feed"
SILENCE_S = 35.0
"""The gateway sends a frame every 15 s: a connection without one for this long is dead."""
_BY_STATUS = 50
"""Jobs that moved and are read one by one; more are read from the list."""
_STRAGGLERS = 200
"""Live jobs, the oldest, that are read one by one, so that a job of a month ago does not lengthen the list."""
_PAGE_SIZE = 1_000
_MARGIN = timedelta(seconds=60)
"""How late a transition may become durable after its instant, and how far clocks may differ. Too much does no harm."""
_MOST_PAGES = 20
"""Pages of live jobs in each state with which a watch of a large kind begins."""
_MOST_RECONNECT_S = 5.0

_OF_CODES: dict[int, tuple[type[ProblemError], int, str]] = {
    1003: (BadMessage, 400, "the gateway does not accept the frames of this client"),
    1008: (BadMessage, 400, "the gateway does not accept the frames of this client"),
    1009: (BadMessage, 400, "the gateway does not accept the frames of this client"),
    4401: (UnknownToken, 401, "the token is missing, wrong, revoked or expired"),
    4403: (MissingPermission, 403, "the token lacks the permission 'read'"),
}
"""Close codes after which a new connection would end in the same way."""


@dataclass(slots=True)
class Watch:
    """What is known across connections. `is_complete` tells that the last snapshots named each job of the scope."""

    session: Session
    scope: frames.Scope
    with_progress: bool
    shown: ShownRevisions = field(default_factory=ShownRevisions)
    was_connected: bool = False
    is_complete: bool = False

    def run(self) -> FeedFlow[NoReturn]:
        """Show events until the caller stops. Raise the `AckedError` that a new connection can't mend."""
        policy, elapsed_s, failures = self.session.policy, 0.0, 0
        while True:
            done = yield Connect(self.session.gateway, PATH, policy.request_s)
            elapsed_s += done.took_s
            failure: Response | Lost
            if done.outcome is None:
                ended = yield from self._follow()
                yield HangUp()
                if ended.had_snapshot:
                    elapsed_s, failures = 0.0, 0
                failure = ended.failure
            else:
                assert isinstance(done.outcome, Response | Lost)  # noqa: S101 - for the type checker
                failure = done.outcome
            budget_s = policy.outage_s if self.was_connected else policy.budget_s
            wait_s = next_wait_s(
                _reconnecting(policy, budget_s),
                failure,
                failures=failures,
                elapsed_s=elapsed_s,
                fraction=self.session.random.random(),
            )
            if wait_s is None:
                raise error_of(failure, where=f"the feed {self.session.gateway}{PATH}")
            failures += 1
            elapsed_s += (yield Pause(wait_s)).took_s

    def _follow(self) -> "FeedFlow[_Ended]":
        """Follow one connection until it ends."""
        line = _Connection(set(range(len(self.scope.subscriptions()))))
        for text in self.scope.subscriptions():
            done = yield Say(text)
            if isinstance(done.outcome, Closed):
                return _ended(done.outcome, line)
        while True:
            done = yield Hear(SILENCE_S)
            if isinstance(done.outcome, Closed):
                return _ended(done.outcome, line)
            if not isinstance(done.outcome, str):
                return _Ended(Lost(f"no frame for {SILENCE_S:g} s", may_have_arrived=True), line.had_snapshot)
            try:
                yield from self._take_frame(line, frames.parse(done.outcome))
            except (LimitReached, Unavailable, NoResponse, ValueError) as error:
                # The connection goes too: the next one catches up on what was not shown.
                return _Ended(Lost(str(error), may_have_arrived=True), line.had_snapshot)

    def _take_frame(self, line: "_Connection", frame: frames.Frame) -> FeedFlow[None]:
        sub = frame.sub if isinstance(frame.sub, int) else -1
        match frame.type:
            case "snapshot" if sub in line.due:
                yield from self._take_snapshot(frame)
                line.take_snapshot(sub, has_jobs=frame.jobs is not None)
                if not line.due:
                    # The list of a batch names each of its jobs, also where the snapshot does not.
                    self.is_complete = not line.counted or self.scope.batch is not None
                    self.was_connected = True
            case "events":
                yield from self._take_events([event.event() for event in frame.events])
            case "resync":
                line.due.add(sub)
            case "error":
                raise _error_of_frame(frame)

    def _take_events(self, events: Sequence[JobEvent]) -> FeedFlow[None]:
        shown: list[JobEvent] = []
        for event in events:
            if event.progress is not None:
                if self.with_progress and self.shown.takes_progress(event):
                    shown.append(event)
                continue
            known = self.shown.rev(event.id)
            if known and event.rev > known + 1:
                # An earlier catch-up broke off.
                if shown:
                    yield Show(shown)
                    shown = []
                yield from self._catch_up_by_status([event.id])
            if self.shown.take(event):
                shown.append(event)
        if shown:
            yield Show(shown)

    def _take_snapshot(self, frame: frames.Frame) -> FeedFlow[None]:
        """Show what a snapshot has beyond what was shown, with the transitions in between."""
        if frame.jobs is None:
            if self.was_connected or self.scope.batch is not None:
                yield from self._catch_up_by_list()
            else:
                yield from self._begin_with_live()
            return
        moved = [job for job in frame.jobs if job.rev > self.shown.rev(job.id)]
        direct = [job for job in moved if job.rev == self.shown.rev(job.id) + 1 or self._begins_with(job.id)]
        yield from self._show(sorted((job.event() for job in direct), key=_order))
        behind = [job.id for job in moved if job.rev > self.shown.rev(job.id)]
        if len(behind) > _BY_STATUS and self.scope.ids is None:
            yield from self._catch_up_by_list()
            behind = [job.id for job in moved if job.rev > self.shown.rev(job.id)]
        yield from self._catch_up_by_status(behind)

    def _begins_with(self, job_id: str) -> bool:
        """Whether a job is shown as it is, because it is part of the first snapshot."""
        return not self.was_connected and not self.shown.rev(job_id)

    def _begin_with_live(self) -> FeedFlow[None]:
        for state in sorted(set(State) - ENDED):
            query = self.scope.query() | {"state": state, "page_size": str(_PAGE_SIZE)}
            pages = Pages(self.session, "/jobs", query, "jobs", JobSummary)
            for _ in range(_MOST_PAGES):
                page = yield from pages.next()
                yield from self._show_page(page)
                if pages.is_done:
                    break

    def _catch_up_by_status(self, ids: Iterable[str]) -> FeedFlow[None]:
        for job_id in ids:
            try:
                found = yield from status(self.session, job_id)
            except NotFound:
                # Its retention is over.
                continue
            yield from self._show(self._missed(job_id, found.history))

    def _catch_up_by_list(self) -> FeedFlow[None]:
        """Read the jobs that may have moved, oldest last; show their transitions in the order of time."""
        query = self.scope.query() | {"page_size": str(_PAGE_SIZE)}
        stragglers: list[str] = []
        if self.scope.batch is None:
            live, newest = self.shown.live, self.shown.newest
            stragglers = live[:_STRAGGLERS]
            since = live[_STRAGGLERS] if len(live) > _STRAGGLERS else newest
            if since is not None:
                query["since"] = (accepted_at(since) - _MARGIN).isoformat()
            elif self.shown.last_at is not None:
                query["since"] = (self.shown.last_at - _MARGIN).isoformat()
        pages = Pages(self.session, "/jobs", query, "jobs", JobSummary)
        while not pages.is_done:
            page = yield from pages.next()
            yield from self._show_page(page)
        yield from self._catch_up_by_status(stragglers)

    def _show_page(self, page: Iterable[JobSummary]) -> FeedFlow[None]:
        events = [event for job in page for event in self._missed(job.id, job.history)]
        yield from self._show(sorted(events, key=_order))

    def _missed(self, job_id: str, history: Sequence[HistoryLine]) -> list[JobEvent]:
        """Return the transitions of a job that belong to the time since it was shown."""
        events = history_events(job_id, history)
        known = self.shown.rev(job_id)
        if known:
            return [event for event in events if event.rev > known]
        if self.shown.was_forgotten(job_id):
            return []
        if not self.was_connected:
            return events[-1:]
        if self.is_complete or self.shown.last_at is None:
            return events
        # It may be an old job that was never shown: only what is newer than all that was shown.
        return [event for event in events if event.at >= self.shown.last_at - _MARGIN]

    def _show(self, events: Iterable[JobEvent]) -> FeedFlow[None]:
        shown = [event for event in events if self.shown.take(event)]
        if shown:
            yield Show(shown)


@dataclass(slots=True)
class _Connection:
    """The subscriptions of one connection: those whose snapshot is due, and those that are shown by counts."""

    due: set[int]
    counted: set[int] = field(default_factory=set)
    had_snapshot: bool = False

    def take_snapshot(self, sub: int, *, has_jobs: bool) -> None:
        self.due.discard(sub)
        (self.counted.discard if has_jobs else self.counted.add)(sub)
        self.had_snapshot = not self.due


@dataclass(frozen=True, slots=True)
class _Ended:
    failure: Response | Lost
    had_snapshot: bool


def _ended(closed: Closed, line: _Connection) -> _Ended:
    """Return how a connection ended. Raise the error of a close code that a new connection can't mend."""
    if (known := _OF_CODES.get(closed.code)) is not None:
        kind, code, detail = known
        text = f"{detail} (close code {closed.code}{': ' + closed.reason if closed.reason else ''})"
        raise kind(Problem(type=f"close-{closed.code}", title=detail, status=code, detail=text))
    return _Ended(Lost(f"the connection was closed with {closed.code} {closed.reason}", True), line.had_snapshot)


def _error_of_frame(frame: frames.Frame) -> AckedError:
    problem = parse_problem(bytes(frame.problem)) if frame.problem is not None else None
    if problem is None:
        return NoResponse("the feed sent an error without a problem", may_have_arrived=True)
    return class_of(problem)(problem)


def _order(event: JobEvent) -> tuple[object, ...]:
    return event.at, event.id, event.rev


def _reconnecting(policy: RetryPolicy, budget_s: float) -> RetryPolicy:
    return replace(policy, budget_s=budget_s, cap_s=min(policy.cap_s, _MOST_RECONNECT_S))
