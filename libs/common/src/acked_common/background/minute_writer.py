"""Counts what a process does to jobs, and writes it as minute buckets every few seconds; nothing is written per job.

A killed process loses what it counted since its last write, at most `WRITE_EVERY_S` of it. One that leaves in order
writes the rest. A write whose outcome is unknown is sent again under its number, so that it counts once.
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
    """The minute buckets of one process. All methods on one loop; those that note return at once."""

    def __init__(self, store: MinuteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._boot = str(new_id())
        self._counts = MinuteCounts()
        self._number = 0
        self._unwritten: list[Bucket] = []
        """What the write with the present number holds; empty once it is confirmed."""

    def start(self, tasks: Tasks) -> None:
        """Write from now on."""
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
            # Most share their transition, and so does what it counts as: all of it leaves one state.
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
        """Count how long attempts ran: the tenant and the kind of each, and seconds."""
        at = self._clock.now()
        for tenant, kind, ran_s in runs:
            add(self._counts.series(at, tenant, kind), span_of(RUN, ran_s))

    async def write(self) -> None:
        """Write what was counted, after what an earlier write left unconfirmed. Raises `StoreError`."""
        if self._unwritten:
            await self._send()
        if uncounted := self._counts.uncounted:
            log.warning("events of too many tenants at once are in no minute bucket", events=uncounted)
        self._unwritten = self._counts.take()
        if self._unwritten:
            self._number += 1
            await self._send()

    async def stop(self) -> None:
        """Write the rest; once the parts that note have stopped."""
        try:
            await self.write()
        except StoreError as error:
            log.warning("the last counts are in no minute bucket", error=str(error))

    async def _send(self) -> None:
        try:
            await self._store.add_minutes(self._boot, self._number, self._unwritten)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except StoreError:
            # What the server refuses it would refuse again, and nothing would be counted any more.
            self._unwritten = []
            raise
        self._unwritten = []
