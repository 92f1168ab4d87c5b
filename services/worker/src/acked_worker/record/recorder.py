"""Records outcomes in batches; what could not be written is written again for as long as the process lives."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace
from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Move, Transition
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
from acked_worker.execute.outcome import Ending, Succeeded, weight_bytes
from acked_worker.record.attempt_metrics import count_recorded
from acked_worker.record.failure_log import failure_line, group_of
from acked_worker.record.outcome_rules import Defaults, transition_after

log = get_log(__name__)

BATCH = 500
BATCH_BYTES = 8 * 2**20
HELD_BYTES = 64 * 2**20
RETRY_S = 0.3

_recorded = Counter("acked_attempts_recorded_total", "Attempts whose outcome was recorded.", ["reason"])
_fenced = Counter("acked_attempts_fenced_total", "Outcomes that were dropped: the attempt owned its job no more.")

Ended = tuple[InFlight, Ending]


class OutcomeListener(Protocol):
    """Who acts on what was recorded. Its methods return at once."""

    def recorded(self, events: Sequence[JobEvent]) -> None:
        """These transitions are in the store."""

    def room_changed(self, has_room: bool) -> None:
        """False when what waits takes more than `HELD_BYTES`, True when it takes half of it."""


class Recorder:
    """Turns endings into transitions and applies them."""

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
        """`worker` is the name that attempts are kept and logged with."""
        self._store = store
        self._writer = writer
        self._running = running
        self._kind_of = kind_of
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
        """Jobs that this process has brought to an end."""

    def record(self, ended: Sequence[Ended]) -> None:
        """Takes endings; returns at once."""
        for one in ended:
            weight = weight_bytes(one[1])
            self._held_bytes += weight
            self._waiting.append((weight, one))
        self._idle.clear()
        self._flush()
        self._tell_room()

    async def wait_recorded(self, within_s: float) -> None:
        """Return when nothing is left to record. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            await self._idle.wait()

    async def stop(self) -> None:
        """Gives up what can't be recorded; the leases bring those jobs back."""
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
        """As many as one write may hold, one at least; and what they weigh."""
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
            stale = await self._apply(batch)
            if stale:
                # A cancel was asked for in between, or the attempt is fenced: look, then once more.
                await self._apply(await self._still_owned(stale), last=True)
        finally:
            for held, _ in batch:
                self._running.remove(held)
            self._window.end(len(batch))
            self._held_bytes -= weight
            self._flush()
            self._tell_room()

    async def _apply(self, batch: Sequence[Ended], *, last: bool = False) -> list[Ended]:
        """Applies the transition of each ending; answers those that were stale."""
        bound = self._bind(batch)
        moves = [move for _, move in bound]
        kinds = [held.job.kind for (held, _), _ in bound]
        try:
            outcome = await self._apply_until_known(moves, kinds)
        except StoreError:
            outcome = await self._apply_one_by_one(moves, kinds)
        stale, events = [], []
        reasons: dict[str, int] = {}
        recorded: list[Ended] = []
        for (ended, move), applied in zip(bound, outcome, strict=True):
            if applied is Applied.STALE:
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
        if last:
            for held, _ in stale:
                self._note_fenced(held)
        return stale

    def _bind(self, batch: Sequence[Ended]) -> list[tuple[Ended, Move]]:
        """The transition of each ending; none for an attempt that owns its job no more."""
        at = self._clock.now()
        bound: list[tuple[Ended, Move]] = []
        # Those that returned the same share one: the store then moves them with one write.
        succeeded: dict[bytes, Transition] = {}
        for held, ending in batch:
            result = ending.result_json if isinstance(ending, Succeeded) else None
            transition = None if result is None else succeeded.get(result)
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
            bound.append(((held, ending), Move(held.job.seen, transition)))
        return bound

    async def _apply_until_known(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied]:
        while True:
            try:
                failpoints.reach("worker.recording")
                outcome = await self._writer.apply(moves, kinds)
                failpoints.reach("worker.recorded")
                return outcome
            except (StoreUnavailable, OutcomeUnknown) as error:
                log.warning("outcomes not recorded yet", jobs=len(moves), error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _apply_one_by_one(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied]:
        """One outcome that the store refuses must not keep the others."""
        outcome: list[Applied] = []
        for move, kind in zip(moves, kinds, strict=True):
            try:
                outcome += await self._apply_until_known([move], [kind])
            except StoreError as error:
                log.error("outcome refused; the lease brings the job back", job_id=str(move.seen.id), error=str(error))
                outcome.append(Applied.STALE)
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
            held.job = replace(held.job, rev=job.rev, cancel_requested_at=job.seen.at)
            owned.append((held, ending))
        return owned

    def _note_fenced(self, held: InFlight) -> None:
        _fenced.inc()
        log.warning("outcome dropped: another attempt owns the job", job_id=held.id, attempt=held.job.attempt)
