"""Renew the leases of all held attempts with one write; the reply lists cancelled and lost jobs, and new signals."""

from collections.abc import Callable
from uuid import UUID

from acked_common.outcomes.outcome import InterruptReason
from acked_common.runtime.logs import get_log
from acked_common.store.ports import LeaseStore
from acked_common.store.records import Lease
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.execute.stall_fence import StallFence, since_boot

log = get_log(__name__)

Interrupt = Callable[[InFlight, InterruptReason], None]


class Leases:
    """The renewals of one worker process."""

    def __init__(
        self,
        store: LeaseStore,
        running: InFlightAttempts,
        boot: str,
        times: KindTimes,
        monotonic: Callable[[], float],
        interrupt: Interrupt,
        fence: StallFence,
        signal_came: Callable[[InFlight], None],
    ) -> None:
        """`interrupt` stops an attempt; `signal_came` ends its waits for signals."""
        self._store = store
        self._running = running
        self._boot = boot
        self._times = times
        self._monotonic = monotonic
        self._interrupt = interrupt
        self._fence = fence
        self._signal_came = signal_came
        self.tried_at = monotonic()
        """When a renewal last ended, successful or not; on the monotonic clock."""
        self.renewed_at = monotonic()
        """When a renewal last succeeded."""

    async def renew(self) -> None:
        """Renew once. Raises `StoreError`."""
        asked = self._running.all()
        sent_at = since_boot()
        try:
            found: dict[UUID, Lease] = {}
            for lease_s, renewed in self._times.renewals(asked):
                found |= await self._store.renew([held.job.id for held in renewed], boot=self._boot, lease_s=lease_s)
            if not asked:
                await self._store.server_time()
            self.renewed_at = self._monotonic()
        finally:
            self.tried_at = self._monotonic()
        for held in asked:
            if held.ended:
                continue
            lease = found.get(held.job.id)
            if lease is None or lease.nonce != held.nonce or lease.attempt != held.job.attempt:
                if self._running.get(held.id, held.job.attempt) is held:
                    log.warning("lease lost", job_id=held.id, attempt=held.job.attempt)
                    self._interrupt(held, InterruptReason.LEASE_LOST)
            elif lease.cancel_requested and not held.cancelling:
                held.cancelling = True
                self._interrupt(held, InterruptReason.CANCELLED)
            elif lease.signals > held.signals:
                held.signals = lease.signals
                self._signal_came(held)
        # After the interruptions: an attempt that lost its job must know that before the fence opens.
        self._fence.prove(sent_at)
