"""Announce signals to their jobs: at once when a gateway receives one, later if its gateway died.

A signal has three steps: (1) it is put into the inbox of its job's ledger, and marked as pending; (2) it is announced
to the job; (3) the mark is unset, unless a newer signal has set it again. A sender that dies after (1) leaves the
mark. The sweeper of signals runs in every intake and gateway; one at a time holds the lock and does (2) and (3).
"""

import asyncio
from collections.abc import Sequence

from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.model import lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Reason
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import JobTimes
from acked_common.store.ledgers import PendingSignalStore
from acked_common.store.parked import Announced, ParkedStore, ResumeOrder

SWEEPING = "announce signals"
EVERY_S = 1.0
OLDER_THAN_S = 5.0
"""A sender that lives has announced its signal by then."""
PAGE = 200
PAGES = 10
AT_ONCE = 10
TURN_S = 10.0
STOPS_AFTER_S = 5.0

_announced = Counter("acked_signals_announced_late_total", "Signals that the sweeper announced: their sender had died.")


class SignalAnnouncer:
    """Steps (2) and (3) of a signal."""

    def __init__(self, writer: JobWriter, ledgers: PendingSignalStore, clock: Clock, times: JobTimes) -> None:
        self._writer = writer
        self._ledgers = ledgers
        self._clock = clock
        self._times = times

    async def announce(self, pending: PendingSignals) -> Announced | None:
        """Announce signals to their job, and publish the job if they queue it. Raise `StoreError`."""
        times = self._times
        wake = lifecycle_waits.wake(
            at=self._clock.now(), grace_s=times.grace_s, expires_in_s=times.expires_in_s, reason=Reason.SIGNALLED
        )
        return await self._writer.announce(pending, ResumeOrder(wake, times.expires_in_s, times.grace_s, str(new_id())))

    async def unset(self, pending: PendingSignals) -> None:
        """Unset the mark of signals that were announced. Raise `StoreError`."""
        await self._ledgers.unset_pending(pending.id, in_seq=pending.in_seq)


class SignalSweeper:
    """The sweeper of signals of one process."""

    def __init__(
        self, turns: ParkedStore, ledgers: PendingSignalStore, announcer: SignalAnnouncer, clock: Clock
    ) -> None:
        self._turns = turns
        self._ledgers = ledgers
        self._announcer = announcer
        self._clock = clock

    def start(self, tasks: Tasks) -> None:
        """Start to sweep."""
        tasks.repeat("announce signals", self.sweep, every_s=EVERY_S)

    async def sweep(self) -> None:
        """Announce signals that have been pending for long, a bounded number of pages."""
        found = await self._ledgers.pending_signals(limit=PAGE, older_than_s=OLDER_THAN_S)
        if not found or not await self._turns.take_turn(SWEEPING, for_s=TURN_S):
            return
        until = self._clock.monotonic() + STOPS_AFTER_S
        for _ in range(PAGES):
            await self._announce_all(found)
            if len(found) < PAGE or self._clock.monotonic() >= until:
                return
            found = await self._ledgers.pending_signals(limit=PAGE, older_than_s=OLDER_THAN_S)

    async def _announce_all(self, found: Sequence[PendingSignals]) -> None:
        for start in range(0, len(found), AT_ONCE):
            await asyncio.gather(*map(self._announce_one, found[start : start + AT_ONCE]))

    async def _announce_one(self, pending: PendingSignals) -> None:
        await self._announcer.announce(pending)
        await self._announcer.unset(pending)
        _announced.inc()
