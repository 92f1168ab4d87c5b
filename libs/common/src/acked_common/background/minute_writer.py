"""Count the transitions of a process, and write them as minute buckets every few seconds; there is no write per job.

A killed process loses the counts since its last write, at most `WRITE_EVERY_S` of them. A graceful stop writes the
rest. A write with an unknown outcome is repeated with its number, so it counts once.
"""

from collections.abc import Iterable, Sequence

from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, Transition
from acked_common.model.minute_buckets import (
    ACCEPTED,
    RUN,
    STARTED,
    WAIT,
    Bucket,
    MinuteCounts,
    add,
    counted_as,
    span_of,
)
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.ports import MinuteStore
from acked_common.store.records import Applied, Insertion, NewJob

log = get_log(__name__)

WRITE_EVERY_S = 10.0


class MinuteWriter:
    """The minute buckets of one process. All methods run on one loop; the counting ones return at once."""

    def __init__(self, store: MinuteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._boot = str(new_id())
        self._counts = MinuteCounts()
        self._number = 0
        self._unwritten: list[Bucket] = []
        """The buckets of the write with the current number; empty once it is confirmed."""

    def start(self, tasks: Tasks) -> None:
        """Start to write."""
        tasks.repeat("minute buckets", self.write, every_s=WRITE_EVERY_S)

    def note_accepted(self, jobs: Sequence[NewJob], outcome: Sequence[Insertion]) -> None:
        """Count new jobs that were stored."""
        at = self._clock.now()
        for job, found in zip(jobs, outcome, strict=True):
            if found is Insertion.STORED:
                add(self._counts.series(at, job.tenant, job.kind), ACCEPTED)

    def note_moves(self, moves: Sequence[Move], kinds: Sequence[str], outcome: Sequence[Applied]) -> None:
        """Count runs and attempts that these moves have ended."""
        at = self._clock.now()
        transition: Transition | None = None
        name: str | None = None
        for move, kind, applied in zip(moves, kinds, outcome, strict=True):
            # Most moves share their transition and leave the same state, so they count alike.
            if move.transition is not transition or len(move.transition.leaves) > 1:
                transition = move.transition
                name = counted_as(move.seen.state, transition)
            if name is not None and applied is Applied.APPLIED:
                add(self._counts.series(at, move.seen.tenant, kind), name)

    def note_started(self, tenant: str, kind: str, count: int, *, waited_s: float) -> None:
        """Count attempts that start together after the same wait in the queue."""
        counts = self._counts.series(self._clock.now(), tenant, kind)
        add(counts, STARTED, count)
        add(counts, span_of(WAIT, waited_s), count)

    def note_runs(self, runs: Iterable[tuple[str, str, float]]) -> None:
        """Count the durations of attempts: tenant, kind and seconds of each."""
        at = self._clock.now()
        for tenant, kind, ran_s in runs:
            add(self._counts.series(at, tenant, kind), span_of(RUN, ran_s))

    async def write(self) -> None:
        """Write the counts, after any earlier unconfirmed write. Raises `StoreError`."""
        if self._unwritten:
            await self._send()
        if uncounted := self._counts.uncounted:
            log.warning("too many tenants at once; some events are missing from the minute buckets", events=uncounted)
        self._unwritten = self._counts.take()
        if self._unwritten:
            self._number += 1
            await self._send()

    async def stop(self) -> None:
        """Write the rest. Call this once the counting parts have stopped."""
        try:
            await self.write()
        except StoreError as error:
            log.warning("the last counts are missing from the minute buckets", error=str(error))

    async def _send(self) -> None:
        try:
            await self._store.add_minutes(self._boot, self._number, self._unwritten)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except StoreError:
            # The server would refuse the same write again, and no later count would be written.
            self._unwritten = []
            raise
        self._unwritten = []
