"""One page of a bulk action: choose the next jobs, and move the jobs of the recorded page.

Each job moves by its own compare-and-set. Any owner can settle a page again at any time: a job whose history names the
action counts as moved, so no job moves twice.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from acked_common.background.job_writer import JobWriter
from acked_common.model.bulk_actions import BulkAction, BulkVerb, JobRefusal
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.runtime.clock import Clock
from acked_common.store.bulk_actions import ChoiceStore
from acked_common.store.errors import StoreError, StoreUnavailable
from acked_common.store.records import Applied, Job
from acked_gateway.bulk import rules
from acked_gateway.jobs.acts import Acts

TRIES = 5
"""Attempts of the compare-and-set of one job before the job counts as moved by others."""


@dataclass(frozen=True, slots=True)
class NextPage:
    """The next jobs, as they were read, and the position to continue from; `next_after` is None at the end."""

    ids: Sequence[UUID]
    jobs: Mapping[UUID, Job]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcomes of the jobs of one page."""

    done: int
    refusals: Sequence[JobRefusal]


@dataclass(slots=True)
class _Found:
    """The state of a page while it is settled."""

    done: int = 0
    refusals: list[JobRefusal] = field(default_factory=list)


class Pages:
    """Reads and moves jobs of bulk actions."""

    def __init__(
        self,
        choices: ChoiceStore,
        writer: JobWriter,
        clock: Clock,
        acts: Acts,
        stop_attempt: Callable[[str, UUID, int], None],
    ) -> None:
        """`stop_attempt` is that of `Commands`: it returns at once, and the command may be lost."""
        self._choices = choices
        self._writer = writer
        self._clock = clock
        self._acts = acts
        self._stop_attempt = stop_attempt

    async def next_page(self, action: BulkAction, ids: Sequence[UUID], *, after: UUID | None, limit: int) -> NextPage:
        """Read the jobs after `after`: those of the choice that are in the plan, or the next of `ids`. The result may
        be empty although more jobs follow. Raises `StoreError`."""
        choice = action.order.choice
        if choice is None:
            start = 0 if after is None else bisect_right(ids, after)
            page = ids[start : start + limit]
            found = await self._choices.jobs_of(action.order.tenant, page) if page else {}
            return NextPage(page, found, page[-1] if start + limit < len(ids) else None)
        chosen = await self._choices.jobs_in(choice, up_to=action.plan.up_to, after=after, limit=limit)
        jobs = {job.id: job for job in chosen.jobs if rules.is_in_plan(job, action.plan)}
        return NextPage(list(jobs), jobs, chosen.next_after)

    async def settle(
        self,
        action: BulkAction,
        fresh: Mapping[UUID, Job] | None,
        *,
        may_move: bool,
        write_until: Callable[[], datetime],
    ) -> Settlement:
        """Move the jobs of the recorded page; if `may_move` is False, only count those that have moved.

        `fresh` are the jobs as they were just read, or None. `write_until` is called before each write and returns
        until when that may take effect; it may raise to prevent the write. Raises `StoreError`, after which the page
        can be settled again.
        """
        found = _Found()
        pending: Sequence[UUID] = action.position.page
        jobs = fresh if fresh is not None else await self._jobs_of(action, pending)
        for _ in range(TRIES):
            moves = self._decide(action, pending, jobs, found)
            if not may_move:
                return Settlement(found.done, [])
            if not moves:
                return Settlement(found.done, found.refusals)
            pending = await self._move(action, moves, write_until(), found)
            jobs = await self._jobs_of(action, pending) if pending else {}
            if any(job.seen == jobs[job.id].seen for job, _ in moves if job.id in jobs):
                # The write came too late, or this read is older than it, as after an election.
                raise StoreUnavailable("jobs are shown as they were before a write that did not match them")
        left = self._decide(action, pending, jobs, found)
        return Settlement(found.done, [*found.refusals, *(JobRefusal(job.id, rules.MOVED) for job, _ in left)])

    def _decide(
        self, action: BulkAction, ids: Sequence[UUID], jobs: Mapping[UUID, Job], found: "_Found"
    ) -> Sequence[tuple[Job, Transition]]:
        """Return the moves of these jobs; record the jobs that don't move."""
        moves: list[tuple[Job, Transition]] = []
        at = self._clock.now()
        for job_id in ids:
            job = jobs.get(job_id)
            decision = rules.decide(action, job, at=at, acts=self._acts)
            if isinstance(decision, str):
                found.refusals.append(JobRefusal(job_id, decision))
            elif isinstance(decision, Transition) and job is not None:
                moves.append((job, decision))
            else:
                found.done += 1
                self._stop(action, job)
        return moves

    async def _move(
        self, action: BulkAction, moves: Sequence[tuple[Job, Transition]], until_at: datetime, found: "_Found"
    ) -> Sequence[UUID]:
        """Apply moves. Record their outcomes, and return the jobs that have changed since they were read."""
        stale: list[UUID] = []
        for (job, _), outcome in zip(moves, await self._apply(moves, until_at), strict=True):
            if outcome is Applied.APPLIED:
                found.done += 1
                self._stop(action, job)
            elif outcome is Applied.STALE:
                stale.append(job.id)
            else:
                found.refusals.append(JobRefusal(job.id, rules.REFUSED_BY_STORE))
        return stale

    async def _jobs_of(self, action: BulkAction, ids: Sequence[UUID]) -> Mapping[UUID, Job]:
        return await self._choices.jobs_of(action.order.tenant, ids)

    async def _apply(self, moves: Sequence[tuple[Job, Transition]], until_at: datetime) -> Sequence[Applied | None]:
        """Apply moves. The result of a move that MongoDB rejects is None; the others are applied."""
        try:
            return await self._writer.apply(
                [Move(job.seen, transition, until_at) for job, transition in moves], [job.kind for job, _ in moves]
            )
        except StoreError as error:
            # Its subclasses mean that the server does not respond.
            if type(error) is not StoreError:
                raise
            if len(moves) == 1:
                return [None]
        return [outcome for one in moves for outcome in await self._apply([one], until_at)]

    def _stop(self, action: BulkAction, job: Job | None) -> None:
        """Send the cancel of a running attempt to its worker."""
        if action.order.verb is BulkVerb.CANCEL and job is not None and job.state is State.RUNNING and job.owner:
            self._stop_attempt(job.owner.boot, job.id, job.attempt)
