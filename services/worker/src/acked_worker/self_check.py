"""Check the state of the worker, for `/readyz`, for the watchdog, and to pause lanes while handlers can't start."""

import time

from acked_common.api.readiness import Readiness
from acked_common.background.pause_cache import PauseCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.runtime.clock import Clock
from acked_worker.consume.lanes import Lanes
from acked_worker.handler_runner import HandlerRunner
from acked_worker.process.watchdog import Watchdog
from acked_worker.record.leases import Leases
from acked_worker.report.reporter import Reporter
from acked_worker.settings import WorkerSettings

STUCK = "handlers are stuck"


class SelfCheck:
    """The state of one worker process. Runs on the plumbing loop, except for reads of the watchdog."""

    def __init__(
        self,
        settings: WorkerSettings,
        clock: Clock,
        *,
        monitor: StoreMonitor,
        pauses: PauseCache,
        lanes: Lanes,
        runners: HandlerRunner,
        leases: Leases,
        reporter: Reporter,
    ) -> None:
        self._lease_s = settings.common.times.lease_s
        self._clock = clock
        self._monitor = monitor
        self._pauses = pauses
        self._lanes = lanes
        self._runners = runners
        self._leases = leases
        self._reporter = reporter
        self._is_draining = False
        self._beat_at = time.monotonic()
        self._able_at = time.monotonic()
        timeouts = settings.timeouts
        self._watchdog = Watchdog(
            {
                "plumbing loop": (timeouts.watchdog_s, lambda: self._beat_at),
                "renewals": (timeouts.watchdog_s, lambda: self._leases.tried_at),
                "consumers": (timeouts.watchdog_s, self._consumers_tried_at),
                "handlers": (timeouts.handler_stuck_s, lambda: self._able_at),
            }
        )

    def start(self) -> None:
        """Start the watchdog; `beat` must be called every second from now on."""
        self._watchdog.start()

    def drain(self) -> None:
        """Begin the drain: the worker is not ready, and the watchdog stops."""
        self._is_draining = True
        self._watchdog.stop()

    async def beat(self) -> None:
        """Record that the plumbing loop runs. Pause all lanes while handlers can't start."""
        self._beat_at = time.monotonic()
        stuck = self._runners.stuck
        if stuck is None or not self._runners.fence.is_open:
            self._able_at = self._beat_at
        if stuck is not None:
            self._lanes.pause(STUCK)
        else:
            self._lanes.resume(STUCK)

    def readiness(self) -> Readiness:
        """Return whether every lane is consumed and the leases are renewed."""
        renewed_s = self._clock.monotonic() - self._leases.renewed_at
        return Readiness(
            {
                "mongodb": self._monitor.problem,
                "lanes": self._why_idle(self._lanes.idle),
                "renewals": f"last one {renewed_s:.0f} s ago" if renewed_s > self._lease_s else None,
                "handlers": self._runners.stuck,
                "draining": "stops soon" if self._is_draining else None,
            },
            {"gateway": self._reporter.problem, "suspects": self._runners.problem},
        )

    def _why_idle(self, lanes: list[str]) -> str | None:
        if lanes and not self._runners.is_prepared and self._runners.problem is not None:
            return f"not consumed yet: {self._runners.problem}"
        return f"not consumed: {', '.join(lanes)}" if lanes else None

    def _consumers_tried_at(self) -> float:
        if not (self._monitor.is_measured and self._pauses.was_read and self._runners.is_prepared):
            # The lanes wait for MongoDB or an import, which must not end the process.
            return time.monotonic()
        tried_at = self._lanes.tried_at
        return time.monotonic() if tried_at is None else tried_at
