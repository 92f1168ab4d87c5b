"""Renew the leases in time, and hold handlers at the fence until the worker knows which jobs it still owns."""

from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_worker.handler_runner import HandlerRunner
from acked_worker.record.leases import Leases

log = get_log(__name__)


class Renewals:
    """The loops of renewals and heartbeats."""

    def __init__(self, leases: Leases, runners: HandlerRunner, *, renewal_s: float) -> None:
        self._leases = leases
        self._runners = runners
        self._renewal_s = renewal_s

    def start(self, tasks: Tasks) -> None:
        """Start both loops in the background."""
        tasks.repeat("renewals", self._renew, every_s=self._renewal_s)
        tasks.repeat("gate", self._beat, every_s=self._runners.beat_every_s)

    async def _renew(self) -> None:
        await self._leases.renew()
        # Notify isolated processes of the successful renewal at once.
        self._runners.beat()

    async def _beat(self) -> None:
        if self._runners.beat():
            log.warning("the process stood still for longer than its leases; its handlers wait for a renewal")
            await self._renew()
