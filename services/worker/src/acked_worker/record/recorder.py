"""Record outcomes in batches; a failed write is repeated for as long as the process lives."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace
from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.outcomes.outcome import Parked, Succeeded, weight_bytes
from acked_common.outcomes.outcome_rules import Defaults, after_signal, transition_after
from acked_common.runtime import failpoints
from acked_common.runtime.batch_window import BatchWindow
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.limited_log import LimitedLog
from acked_common.runtime.logs import get_log
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.ports import OutcomeStore
from acked_common.store.records import Applied, KindRecord
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.record.attempt_metrics import count_recorded
from acked_worker.record.earlier_attempts import RETRY_S, EarlierAttempts, Ended
from acked_worker.record.failure_log import failure_line, group_of

log = get_log(__name__)

BATCH = 500
BATCH_BYTES = 8 * 2**20
HELD_BYTES = 64 * 2**20
MAX_LOOKS = 20
"""How often a job is read whose outcome is stale although the attempt owns it. Each cause comes once or twice."""

_recorded = Counter("acked_attempts_recorded_total", "Attempts whose outcome was recorded.", ["reason"])
_fenced = Counter("acked_attempts_fenced_total", "Outcomes that were dropped: the attempt owned its job no more.")


class OutcomeListener(Protocol):
    """Receives recorded outcomes. Its methods return at once."""

    def recorded(self, events: Sequence[JobEvent]) -> None:
        """Handle transitions that are stored."""

    def room_changed(self, has_room: bool) -> None:
        """Handle a change of room: False if waiting outcomes exceed `HELD_BYTES`, True below half of that."""


class Recorder:
    """Converts endings to transitions and applies them."""

    def __init__(
        self,
        store: OutcomeStore,
        writer: JobWriter,
        running: InFlightAttempts,
        kind_of: Callable[[str], KindRecord],
        defaults: Defaults,
        clock: Clock,
        listener: OutcomeListener,
        worker: str,
    ) -> None:
        """`worker` is the name in recorded attempts and logs."""
        self._store = store
        self._writer = writer
        self._running = running
        self._kind_of = kind_of
        self._earlier = EarlierAttempts(store, kind_of)
        self._defaults = defaults
        self._clock = clock
        self._listener = listener
        self._worker = worker
        self._failures = LimitedLog(log, clock.monotonic)
        self._waiting: deque[tuple[int, Ended]] = deque()
        self._held_bytes = 0
        self._has_room = True
        self._window = BatchWindow(self._flush)
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = Tasks()
        self.finished = 0
        """The number of jobs that this process has ended."""

    def record(self, ended: Sequence[Ended]) -> None:
        """Accept endings. Returns at once."""
        for one in ended:
            weight = weight_bytes(one[1])
            self._held_bytes += weight
            self._waiting.append((weight, one))
        self._idle.clear()
        self._flush()
        self._tell_room()

    async def wait_recorded(self, within_s: float) -> None:
        """Wait until nothing is left to record. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            await self._idle.wait()

    async def stop(self) -> None:
        """Drop endings that can't be recorded; their jobs return when the leases expire."""
        await self._tasks.cancel_all()
        self._window.stop()
        self._failures.stop()

    def _flush(self) -> None:
        while self._window.may_begin(len(self._waiting)):
            batch, weight = self._next_batch()
            self._window.begin(len(batch))
            self._tasks.spawn(self._record(batch, weight), "record")
        if not self._waiting and self._window.is_idle:
            self._idle.set()

    def _next_batch(self) -> tuple[list[Ended], int]:
        """Take as many endings as one write may contain, at least one. Return them and their size."""
        batch: list[Ended] = []
        weight = 0
        while self._waiting and len(batch) < BATCH and (not batch or weight + self._waiting[0][0] <= BATCH_BYTES):
            one_weight, one = self._waiting.popleft()
            weight += one_weight
            batch.append(one)
        return batch, weight

    def _tell_room(self) -> None:
        has_room = self._held_bytes <= (HELD_BYTES if self._has_room else HELD_BYTES // 2)
        if has_room is not self._has_room:
            self._has_room = has_room
            log.warning("outcomes wait to be recorded", has_room=has_room, bytes=self._held_bytes)
            self._listener.room_changed(has_room)

    async def _record(self, batch: list[Ended], weight: int) -> None:
        try:
            refused: set[InFlight] = set()
            stale = await self._apply(await self._earlier.judged(batch), refused)
            for _ in range(MAX_LOOKS):
                if not stale:
                    break
                # A cancel was requested or a signal came in between, or the attempt is fenced: read the jobs.
                stale = await self._apply(await self._still_owned(stale), refused)
            for held, _ in stale:
                log.error("outcome dropped: the job moved each time", job_id=held.id, attempt=held.job.attempt)
                self._note_fenced(held)
        finally:
            for held, _ in batch:
                self._running.remove(held)
            self._window.end(len(batch))
            self._held_bytes -= weight
            self._flush()
            self._tell_room()

    async def _apply(self, batch: Sequence[Ended], refused: set[InFlight]) -> list[Ended]:
        """Apply the transition of each ending. Return the stale ones, and those that were refused for the first
        time."""
        bound = self._bind(batch)
        moves = [move for _, move in bound]
        kinds = [held.job.kind for (held, _), _ in bound]
        outcome: Sequence[Applied | None]
        try:
            outcome = await self._apply_until_known(moves, kinds)
        except StoreError:
            outcome = await self._apply_one_by_one(moves, kinds)
        stale, events = [], []
        reasons: dict[str, int] = {}
        recorded: list[Ended] = []
        for (ended, move), applied in zip(bound, outcome, strict=True):
            if applied is None and ended[0] in refused:
                self._note_fenced(ended[0])
                continue
            if applied is None:
                refused.add(ended[0])
            if applied is not Applied.APPLIED:
                stale.append(ended)
                continue
            if (failed := move.transition.ended) is not None:
                self._failures.say(group_of(failed), failure_line(move.transition, failed, ended[0].job))
            recorded.append(ended)
            entry = move.history_entry
            self.finished += entry.state.is_terminal
            reasons[entry.reason] = reasons.get(entry.reason, 0) + 1
            events.append(JobEvent(move.seen.id, entry.rev, entry.state, entry.reason, entry.attempt, entry.at))
        for reason, count in reasons.items():
            _recorded.labels(reason).inc(count)
        count_recorded(recorded)
        if events:
            failpoints.reach("worker.reporting")
            self._listener.recorded(events)
        return stale

    def _bind(self, batch: Sequence[Ended]) -> list[tuple[Ended, Move]]:
        """Return the transition of each ending, except of attempts that no longer own their jobs."""
        at = self._clock.now()
        bound: list[tuple[Ended, Move]] = []
        # Endings with the same result share a transition, so that the store moves them with one write.
        succeeded: dict[bytes, Transition] = {}
        for held, ending in batch:
            result = ending.result_json if isinstance(ending, Succeeded) else None
            transition = None if result is None else succeeded.get(result)
            if held.has_unread_signal and not held.cancelling:
                transition = after_signal(held.job, self._defaults, at)
            if transition is None:
                transition = transition_after(
                    ending,
                    held.job,
                    self._kind_of(held.job.kind),
                    self._defaults,
                    worker=self._worker,
                    cancelling=held.cancelling,
                    at=at,
                    suspect=held.is_suspected,
                )
            if transition is None:
                continue
            if result is not None:
                succeeded[result] = transition
            seen = held.job.seen
            if transition.to is State.WAITING and isinstance(ending, Parked):
                seen = replace(seen, signals=ending.in_seq)
            bound.append(((held, ending), Move(seen, transition)))
        return bound

    async def _apply_until_known(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied]:
        parks = any(move.transition.to is State.WAITING for move in moves)
        while True:
            try:
                failpoints.reach("worker.recording")
                if parks:
                    failpoints.reach("worker.parking")
                outcome = await self._writer.apply(moves, kinds)
                failpoints.reach("worker.recorded")
                if parks:
                    failpoints.reach("worker.parked")
                return outcome
            except (StoreUnavailable, OutcomeUnknown) as error:
                log.warning("outcomes not recorded yet", jobs=len(moves), error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _apply_one_by_one(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied | None]:
        """Apply moves one by one: an outcome that MongoDB rejects must not block the others. None: it was rejected."""
        outcome: list[Applied | None] = []
        for move, kind in zip(moves, kinds, strict=True):
            try:
                outcome += await self._apply_until_known([move], [kind])
            except StoreError as error:
                log.error("outcome refused; the lease brings the job back", job_id=str(move.seen.id), error=str(error))
                outcome.append(None)
        return outcome

    async def _still_owned(self, stale: Sequence[Ended]) -> list[Ended]:
        while True:
            try:
                found = await self._store.get_many([held.job.id for held, _ in stale])
                break
            except StoreError:
                await asyncio.sleep(RETRY_S)
        owned: list[Ended] = []
        for held, ending in stale:
            job = found.get(held.job.id)
            if job is None or job.owner is None or job.owner.nonce != held.nonce or job.attempt != held.job.attempt:
                self._note_fenced(held)
                continue
            held.cancelling = job.cancel_requested
            held.has_unread_signal = isinstance(ending, Parked) and job.signals > ending.in_seq
            held.job = replace(held.job, rev=job.rev, cancel_requested_at=job.seen.at)
            owned.append((held, ending))
        return owned

    def _note_fenced(self, held: InFlight) -> None:
        _fenced.inc()
        log.warning("outcome dropped: another attempt owns the job", job_id=held.id, attempt=held.job.attempt)
