"""Fire due schedules: decide, write the decision, insert the jobs, write that they started.

Every intake does this for all schedules; of several that look at one, one writes its decision (see `schedule_rules`).
If an intake dies after its decision, another one inserts the same ids after `STARTS_WITHIN_S`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from msgspec.structs import replace
from prometheus_client import Counter, Histogram

from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.payload_check import PayloadCheck
from acked_common.http.problems import ProblemError
from acked_common.model import interventions, lifecycle, schedule_backfills, schedule_rules
from acked_common.model.cron import BadCron
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.model.principal import Actor
from acked_common.model.schedule_instants import fires_at
from acked_common.model.schedules import Firing, FiringOutcome, Overlap, Schedule, Trigger, Why
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import JobTimes
from acked_common.store.ports import JobReader, OutcomeStore
from acked_common.store.records import Insertion, Job, KindRecord, NewJob
from acked_common.store.schedules import DueScheduleStore
from acked_intake.accept.endpoint_cache import EndpointCache
from acked_intake.accept.quota_counter import QuotaCounter

EVERY_S = 1.0
PAGE = 100
PAGES = 20
"""Schedules of one pass; the others follow with the next one."""
TAG = "schedule:"
"""Every job of a schedule has a tag of this and its name."""

_firings = Counter("acked_schedule_firings_total", "Firings of schedules by what became of them.", ["outcome"])
_late = Histogram(
    "acked_schedule_delay_seconds",
    "Time from the instant of a firing, with its jitter, to its stored job.",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
)
for _outcome in (FiringOutcome.STARTED, FiringOutcome.SKIPPED, FiringOutcome.MISSED, FiringOutcome.REFUSED):
    _firings.labels(_outcome.value)


class FiringAdmission(NamedTuple):
    """What decides on the jobs of firings, as `Admission` does on requests."""

    kinds: KindCache
    payloads: PayloadCheck
    quota: QuotaCounter
    endpoints: EndpointCache


class _JobsFound(NamedTuple):
    """The jobs that one look has read."""

    live: set[UUID]
    known: set[UUID]
    """Those that exist."""


class JobStates(JobReader, OutcomeStore, Protocol):
    """Read the jobs of schedules."""


class Firer:
    """Fires the schedules."""

    def __init__(
        self,
        schedules: DueScheduleStore,
        jobs: JobStates,
        writer: JobWriter,
        admission: FiringAdmission,
        clock: Clock,
        times: JobTimes,
    ) -> None:
        self._schedules = schedules
        self._jobs = jobs
        self._writer = writer
        self._kinds, self._payloads, self._quota, self._endpoints = admission
        self._clock = clock
        self._times = times

    def start(self, tasks: Tasks) -> None:
        """Start to fire."""
        tasks.repeat("schedules", self.fire, every_s=EVERY_S)

    async def fire(self) -> None:
        """Fire due schedules, a bounded number of them. Raise `StoreError`."""
        for _ in range(PAGES):
            due = await self._schedules.due(limit=PAGE)
            if due:
                await self._fire(due)
            if len(due) < PAGE:
                return

    async def _fire(self, due: Sequence[Schedule]) -> None:
        jobs = await self._look_up(due)
        decided = [await self._decided(schedule, jobs) for schedule in due]
        won = await self._save(decided)
        failpoints.reach("schedules.decided")
        _count(before=due, after=won)
        await self._cancel_running(won)
        await self._start(won)

    async def _look_up(self, due: Iterable[Schedule]) -> _JobsFound:
        """Read which jobs of these schedules are live, and which jobs of their backfills exist."""
        ids: set[UUID] = set()
        unread: set[UUID] = set()
        for schedule in due:
            # Where firings overlap freely, it does not matter which jobs have ended.
            (unread if schedule.order.overlap is Overlap.ALL else ids).update(schedule.progress.live)
            ids.update(schedule_backfills.candidates(schedule))
        found = await self._jobs.revisions(list(ids)) if ids else {}
        live = unread | {job_id for job_id, revision in found.items() if not revision.state.is_terminal}
        return _JobsFound(live, set(found))

    async def _decided(self, schedule: Schedule, jobs: _JobsFound) -> Schedule:
        now = self._clock.now()
        if schedule.progress.starting:
            # Of an intake that has died, or of this one before an insert whose outcome is unknown.
            return schedule_rules.written(schedule, now)
        try:
            decided = schedule_rules.decide(schedule, now=now, live=jobs.live, known=jobs.known)
        except BadCron as error:
            decided = schedule_rules.stop(schedule, Why.TIME_ZONE, f"{error}; define the schedule again", now=now)
        return schedule_rules.written(await self._admitted(decided), now)

    async def _admitted(self, schedule: Schedule) -> Schedule:
        """Refuse those of `starting` that intake would refuse as requests."""
        if not schedule.progress.starting:
            return schedule
        refusal = await self._refusal(schedule)
        for firing in schedule.progress.starting:
            found = refusal or self._beyond_quota(schedule.tenant)
            if found is not None:
                schedule = schedule_rules.refuse(schedule, firing, *found)
        return schedule

    async def _refusal(self, schedule: Schedule) -> tuple[Why, str] | None:
        work, client = schedule.order.work, (schedule.tenant, TAG)
        kind: KindRecord | None = self._kinds.get(work.kind) or await self._kinds.look_again(work.kind)
        if kind is None:
            return Why.UNKNOWN_KIND, f"no worker has registered kind {work.kind!r}"
        if await self._payloads.refusal(work.payload, kind, client=client) is None:
            return None
        # A worker with another schema may have come meanwhile.
        refusal = await self._payloads.look_again(work.payload, kind, client=client)
        return None if refusal is None else (Why.PAYLOAD, refusal.problem.detail)

    def _beyond_quota(self, tenant: str) -> tuple[Why, str] | None:
        try:
            self._quota.admit(tenant)
        except ProblemError as error:
            return Why.QUOTA, error.problem.detail
        return None

    async def _save(self, schedules: Sequence[Schedule]) -> list[Schedule]:
        """Write the progress of schedules; return those that no other write has overtaken."""
        saved = await self._schedules.save_progress(schedules, nonce=new_id())
        return [schedule for schedule in schedules if (schedule.tenant, schedule.name) in saved]

    async def _cancel_running(self, schedules: Iterable[Schedule]) -> None:
        """Cancel live jobs for which a firing waits. Should this be lost, the next look repeats it."""
        ids = [
            job_id
            for schedule in schedules
            if schedule.progress.held is not None and schedule.order.overlap is Overlap.CANCEL_RUNNING
            for job_id in schedule.progress.live
        ]
        jobs: Mapping[UUID, Job] = await self._jobs.get_many(ids) if ids else {}
        moves = [(Move(job.seen, found), job.kind) for job in jobs.values() if (found := self._cancel(job)) is not None]
        if moves:
            await self._writer.apply([move for move, _ in moves], [kind for _, kind in moves])

    def _cancel(self, job: Job) -> Transition | None:
        if job.state.is_terminal or job.cancel_requested:
            return None
        at, by = self._clock.now(), Actor("schedule", via="schedule")
        if job.state is State.RUNNING:
            return interventions.request_cancel(at=at, by=by)
        return interventions.cancel(at=at, retention_s=self._times.retention_s, by=by)

    async def _start(self, schedules: Iterable[Schedule]) -> None:
        """Insert the jobs of `starting`, and write that they have started."""
        starting = [schedule for schedule in schedules if schedule.progress.starting]
        if not starting:
            return
        await self._endpoints.make_fresh()
        jobs = [job for schedule in starting for job in self._jobs_of(schedule)]
        outcome = await self._writer.insert(jobs)
        failpoints.reach("schedules.inserted")
        stored = {job.id for job, found in zip(jobs, outcome, strict=True) if found is Insertion.STORED}
        now = self._clock.now()
        ended = [schedule_rules.written(schedule_rules.started(schedule, stored), now) for schedule in starting]
        saved = await self._save(ended)
        for before in starting:
            if any((before.tenant, before.name) == (one.tenant, one.name) for one in saved):
                self._note_started(before, stored)

    def _jobs_of(self, schedule: Schedule) -> list[NewJob]:
        at, work = self._clock.now(), schedule.order.work
        options = replace(work.options, tags=(*work.options.tags, f"{TAG}{schedule.name}"))
        expires_in_s = options.expires_in_s or self._times.expires_in_s
        fields = lifecycle.accept_fields(at=at, delay_s=0, grace_s=self._times.grace_s, expires_in_s=expires_in_s)
        endpoints = self._endpoints.names(schedule.tenant, work.kind)
        return [
            NewJob(
                firing.job,
                work.kind,
                work.payload,
                at,
                fields,
                options,
                schedule.tenant,
                callback_endpoints=endpoints,
            )
            for firing in schedule.progress.starting
            if firing.job is not None
        ]

    def _note_started(self, schedule: Schedule, stored: set[UUID]) -> None:
        now = self._clock.now()
        for firing in schedule.progress.starting:
            if firing.job in stored:
                _firings.labels(FiringOutcome.STARTED.value).inc()
                if firing.trigger is Trigger.SCHEDULE:
                    _late.observe((now - fires_at(schedule, firing.at)).total_seconds())


def _count(*, before: Sequence[Schedule], after: Sequence[Schedule]) -> None:
    """Count the firings that these decisions ended without a job."""
    earlier = {(schedule.tenant, schedule.name): schedule for schedule in before}
    for schedule in after:
        known = _counts(earlier[schedule.tenant, schedule.name].progress.firings)
        for firing in schedule.progress.firings:
            if (new := firing.count - known.get((firing.at, firing.trigger), 0)) > 0:
                _firings.labels(firing.outcome.value).inc(new)


def _counts(firings: Iterable[Firing]) -> dict[tuple[object, Trigger], int]:
    return {(firing.at, firing.trigger): firing.count for firing in firings}
