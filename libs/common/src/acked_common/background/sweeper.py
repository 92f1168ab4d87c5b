"""The sweeper: moves jobs that no other part moves. It runs in every intake and gateway; several are harmless.

Each state is queried separately on the index {state, next_check_at}, so a backlog in one state does not delay leases or
due jobs. A queued job is republished only if its lane's watermark (the newest consumed `queued_at`) has passed it, or
if the lane's queue was empty in three checks. While no messages are consumed, and for paused kinds, no job is
republished. Of all sweepers that see a lost job, one reserves it, and one at a time publishes. The expiry of jobs whose
kind was paused is extended (see `pauses`).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Counter

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_metrics import count_attempts
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.broker import BrokerError, LaneProbe
from acked_common.model import lifecycle, pauses
from acked_common.model.attempts import AttemptOutcome, EndedAttempt, worker_lost
from acked_common.model.backoff import Backoff
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.limited_log import LimitedLog, Line
from acked_common.runtime.logs import get_log
from acked_common.runtime.settings import WORKER_STORE_TIMEOUT_S, JobTimes
from acked_common.store.errors import StoreError
from acked_common.store.ports import SweepStore
from acked_common.store.records import Applied, Job, Reservation, SweepPosition, WaitExtension

log = get_log(__name__)

PAGE = 1000
QUEUED_PAGE = 500
REPUBLISHED_PER_S = 2000
REPUBLISHING = "republish"
REFUSED_AGAIN_S = 5.0
EMPTY_LOOKS = 3
LOOK_EVERY_S = 1.0
REPUBLISH_AGAIN = Backoff(base_s=60.0, cap_s=900.0)
CLOCK_JUMP_S = 1.0
LATEST = datetime.max.replace(tzinfo=UTC)

_swept = Counter("acked_swept_total", "Jobs that the sweeper moved or republished.", ["reason"])


class LostJobs:
    """Decides which queued jobs the broker has lost. Pure: observations of lanes are arguments."""

    def __init__(self, republish_after_s: float) -> None:
        self._margin = timedelta(seconds=republish_after_s)
        self._watermarks: Mapping[str, datetime] = {}
        self._empty: dict[str, list[datetime]] = {}

    def note_watermarks(self, watermarks: Mapping[str, datetime]) -> None:
        """Record the newest consumed `queued_at` of each lane."""
        self._watermarks = watermarks

    def note_depth(self, lane: str, ready: int, at: datetime) -> None:
        """Record how many bundles wait on a lane."""
        if ready > 0:
            self._empty.pop(lane, None)
        else:
            self._empty.setdefault(lane, []).append(at)
            del self._empty[lane][:-EMPTY_LOOKS]

    def is_lost(self, lane: str, queued_at: datetime) -> bool:
        """Return whether the broker has lost a job that was queued at `queued_at`."""
        watermark = self._watermarks.get(lane)
        if watermark is not None and watermark - self._margin > queued_at:
            return True
        looks = self._empty.get(lane, [])
        return len(looks) >= EMPTY_LOOKS and looks[0] > queued_at


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """MongoDB's time, and the monotonic instants of the request and the reply."""

    server_at: datetime
    asked: float
    at: float

    def jumped_since(self, earlier: "ServerAnswer") -> bool:
        """Return whether MongoDB's clock jumped, beyond what the round trips explain."""
        passed_s = (self.server_at - earlier.server_at).total_seconds()
        return not self.asked - earlier.at - CLOCK_JUMP_S <= passed_s <= self.at - earlier.asked + CLOCK_JUMP_S


def next_look_s(republished: int) -> float:
    """Return the seconds from the n-th republication of a job to its next check."""
    return REPUBLISH_AGAIN.bound_s(republished + 1)


class Sweeper:
    """The sweeper of one process."""

    def __init__(
        self,
        store: SweepStore,
        writer: JobWriter,
        bundle_publisher: BundlePublisher,
        probe: LaneProbe,
        kinds: KindCache,
        paused: PauseCache,
        clock: Clock,
        times: JobTimes,
    ) -> None:
        self._store = store
        self._writer = writer
        self._bundle_publisher = bundle_publisher
        self._probe = probe
        self._kinds = kinds
        self._paused = paused
        self._clock = clock
        self._times = times
        self._lost = LostJobs(times.republish_after_s)
        self._position: SweepPosition | None = None
        self._lanes_due: set[str] = set()
        self._broker_answers = False
        self._answer: ServerAnswer | None = None
        self._leases_count_from = clock.monotonic()
        self._lost_attempts = LimitedLog(log, clock.monotonic)

    def start(self, tasks: Tasks) -> None:
        """Start to sweep."""
        every_s = self._times.sweep_tick_s
        tasks.repeat("sweep scheduled", self.sweep_scheduled, every_s=every_s)
        tasks.repeat("sweep running", self.sweep_running, every_s=every_s)
        tasks.repeat("sweep queued", self.sweep_queued, every_s=every_s)
        tasks.repeat("look at lanes", self.look_at_lanes, every_s=LOOK_EVERY_S)

    async def stop(self) -> None:
        """Log what was suppressed. Call this once the loops have ended."""
        self._lost_attempts.stop()

    async def sweep_scheduled(self) -> None:
        """Queue due jobs."""
        jobs = await self._store.live_jobs(State.SCHEDULED, limit=PAGE)
        at = self._clock.now()
        await self._move(jobs, [lifecycle.become_due(at=at, **self._waiting(job)) for job in jobs])

    async def sweep_running(self) -> None:
        """Take back jobs with expired leases, marked for isolation; end those that were cancelled meanwhile."""
        if not await self._leases_count():
            return
        jobs = await self._store.live_jobs(State.RUNNING, limit=PAGE)
        at = self._clock.now()
        if jobs:
            failpoints.reach("sweeper.taking-back")
        if await self._move(jobs, [self._after_lost_lease(job, at) for job in jobs]):
            failpoints.reach("sweeper.took-back")

    async def sweep_queued(self) -> None:
        """Fail expired jobs and republish lost ones, one page per tick."""
        jobs = await self._store.live_jobs(State.QUEUED, limit=QUEUED_PAGE, after=self._position)
        at = self._clock.now()
        self._lanes_due |= {self._kinds.lane(job.kind) for job in jobs}
        if any(self._expires_at(job, at) <= at for job in jobs):
            # A kind may have been paused a moment ago; its jobs must not expire.
            await self._paused.refresh()
        await self._extend(jobs, at)
        expired = [job for job in jobs if self._expires_at(job, at) <= at]
        await self._move(expired, [self._expiry(job, at) for job in expired])
        lost = [job for job in jobs if self._expires_at(job, at) > at and self._is_lost(job)]
        if lost and self._broker_answers and not await self._republish(lost):
            # Another process has the lock: check this page again.
            return
        # Continue a full page at the next tick, so that a tick costs at most one page.
        self._position = SweepPosition(_next_check_at(jobs[-1]), jobs[-1].id) if len(jobs) == QUEUED_PAGE else None

    async def _extend(self, jobs: Sequence[Job], at: datetime) -> None:
        """Extend the expiry of jobs near it whose kind is or was paused."""
        extensions: list[WaitExtension] = []
        for job in jobs:
            if (wait := job.wait) is None:
                continue
            if (moved := pauses.extended(wait, self._paused.of(job.kind), at)) is not None:
                extensions.append(WaitExtension(job.id, wait.expires_at, moved))
        if extensions:
            await self._store.extend_waits(extensions)

    def _expires_at(self, job: Job, at: datetime) -> datetime:
        wait = job.wait
        return LATEST if wait is None else pauses.true_expiry(wait, self._paused.of(job.kind), at)

    def _is_lost(self, job: Job) -> bool:
        """Return whether to republish the job. Jobs of a paused kind are not, because no worker would claim them."""
        if (wait := job.wait) is None or self._paused.of(job.kind).current is not None:
            return False
        if job.is_held:
            # Workers claim it without a message.
            return False
        is_lost = self._lost.is_lost(self._kinds.lane(job.kind), wait.queued_at)
        return is_lost or pauses.was_unclaimable(wait, _next_check_at(job))

    async def look_at_lanes(self) -> None:
        """Read watermarks and depths of the lanes with overdue jobs."""
        # The lanes of all pages since the last check, since a check covers one page.
        lanes, self._lanes_due = self._lanes_due, set()
        if not lanes:
            return
        self._lost.note_watermarks(await self._store.watermarks())
        answered = False
        for lane in sorted(lanes):
            try:
                self._lost.note_depth(lane, await self._probe.ready_bundles(lane), self._clock.now())
                answered = True
            except BrokerError:
                # Only this lane may fail, for example if another program declared its queue.
                continue
        self._broker_answers = answered

    async def _republish(self, lost: Sequence[Job]) -> bool:
        """Reserve and publish lost jobs. Return False while another process has the lock.

        The reservation ensures that one sweeper publishes a job; after a crash a later check does.
        """
        # The duration of the lock enforces the rate over all processes.
        if not await self._store.take_turn(REPUBLISHING, for_s=len(lost) / REPUBLISHED_PER_S):
            return False
        at, nonce = self._clock.now(), str(new_id())
        got = await self._store.reserve([self._reservation(job, at) for job in lost], nonce=nonce)
        failpoints.reach("sweeper.reserved")
        confirmed = await self._bundle_publisher.publish(
            (job.id, job.kind, job.queued_at) for job in lost if job.id in got and job.queued_at
        )
        failpoints.reach("sweeper.republished")
        if refused := got - confirmed:
            again_at = self._clock.now() + timedelta(seconds=REFUSED_AGAIN_S)
            await self._store.give_back(list(refused), nonce=nonce, next_check_at=again_at)
        if confirmed:
            _swept.labels("republished").inc(len(confirmed))
            log.info("republished", jobs=len(confirmed))
        return True

    def _reservation(self, job: Job, at: datetime) -> Reservation:
        next_check_at = min(at + timedelta(seconds=next_look_s(job.republished)), self._expires_at(job, at))
        return Reservation(job.id, _next_check_at(job), next_check_at)

    async def _leases_count(self) -> bool:
        """Return whether expired leases count. After an outage of MongoDB or a jump of its clock they do not, until
        workers have had time to renew."""
        times, before = self._times, self._answer
        asked = self._clock.monotonic()
        try:
            server_at = await self._store.server_time()
        except StoreError:
            self._answer = None
            raise
        answer = self._answer = ServerAnswer(server_at, asked, self._clock.monotonic())
        if before is None or answer.at - before.at > times.lease_s / 2 or answer.jumped_since(before):
            # The maximum duration of a renewal in flight, plus one round of renewals with jitter.
            renewed_s = WORKER_STORE_TIMEOUT_S + times.renewal_s * 1.1
            self._leases_count_from = answer.at + renewed_s + times.renewal_s * random.random() / 2
        return answer.at >= self._leases_count_from

    def _after_lost_lease(self, job: Job, at: datetime) -> Transition:
        ended = _lost_attempt(job, at)
        if job.cancel_requested:
            return lifecycle.end_cancelled(at=at, retention_s=self._times.retention_s, ended=ended)
        return lifecycle.take_back(at=at, ended=ended, **self._waiting(job))

    def _expiry(self, job: Job, at: datetime) -> Transition:
        waited_s = (at - job.queued_at).total_seconds() if job.queued_at else 0.0
        return lifecycle.expire(
            at=at,
            waited_s=round(waited_s, 1),
            kind=job.kind,
            attempt=job.attempt,
            retention_s=self._times.retention_s,
            is_held=job.is_held,
        )

    def _waiting(self, job: Job) -> dict[str, float]:
        return {
            "grace_s": self._times.grace_s,
            "expires_in_s": job.options.expires_in_s or self._times.expires_in_s,
        }

    async def _move(self, jobs: Sequence[Job], transitions: Sequence[Transition]) -> int:
        """Apply one transition to each job; return how many moved."""
        if not jobs:
            return 0
        moves = [Move(job.seen_with_lease, transition) for job, transition in zip(jobs, transitions, strict=True)]
        outcome = await self._writer.apply(moves, [job.kind for job in jobs])
        for job, move, applied in zip(jobs, moves, outcome, strict=True):
            if applied is Applied.APPLIED:
                _swept.labels(move.transition.reason.value).inc()
                if (ended := move.transition.ended) is not None:
                    self._lost_attempts.say(job.kind, _lost_line(ended, job.id, job.kind))
                    count_attempts(job.kind, ended.outcome.value)
        return outcome.count(Applied.APPLIED)


def _lost_attempt(job: Job, at: datetime) -> EndedAttempt | None:
    if job.owner is None or job.started_at is None:
        return None
    return EndedAttempt(
        run=job.run,
        attempt=job.attempt,
        worker=job.owner.worker,
        started_at=job.started_at,
        ended_at=at,
        outcome=AttemptOutcome.LOST,
        error=worker_lost(job.kind, job.owner.worker),
        traceback=None,
    )


def _lost_line(ended: EndedAttempt, job_id: UUID, kind: str) -> Line:
    """Log an attempt whose worker was lost."""
    fields = {
        "job_id": str(job_id),
        "kind": kind,
        "attempt": ended.attempt,
        "worker": ended.worker,
        "group": ended.error["group"],
        "duration_s": round((ended.ended_at - ended.started_at).total_seconds(), 3),
    }
    return Line("attempt lost", fields, is_grave=True)


def _next_check_at(job: Job) -> datetime:
    if job.next_check_at is None:
        raise ValueError(f"live job {job.id} has no next check")
    return job.next_check_at
