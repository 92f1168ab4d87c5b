"""Run a job in the executor, or isolated in a process of its own, through one interface."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from acked import Kind
from acked_common.outcomes.outcome import Ending, Interrupted, InterruptReason
from acked_common.runtime.logs import get_log
from acked_worker.consume.in_flight import InFlight
from acked_worker.consume.kind_times import KindTimes
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.delivery_secrets import DeliverySecrets
from acked_worker.execute.executor import Executor
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.fork_server_client import ForkServerProcess
from acked_worker.isolate.isolated_runner import IsolatedRunner
from acked_worker.settings import WorkerSettings

log = get_log(__name__)

STUCK_AFTER_S = 5.0
BEATS_A_RENEWAL = 4
CLOSE_WITHIN_S = 1.0

OnEnded = Callable[[list[tuple[Assignment, Ending]]], None]


class HandlerRunner:
    """The executor and the isolated attempts of one worker, with one stall fence."""

    def __init__(
        self,
        settings: WorkerSettings,
        kinds: Mapping[str, Kind],
        times: KindTimes,
        *,
        on_ended: OnEnded,
        on_progress: Callable[[list[tuple[str, int, object]]], None],
        ledgers: LedgerAccess,
        secrets: DeliverySecrets,
        host: ForkServerProcess | None = None,
    ) -> None:
        capacity = settings.capacity
        self._threads = capacity.threads
        self._secrets = secrets
        self._on_ended = on_ended
        self.fence = StallFence(lease_s=times.shortest_lease_s, renewal_s=times.renewal_s)
        self.beat_every_s = times.renewal_s / BEATS_A_RENEWAL
        self._executor = Executor(
            kinds,
            threads=capacity.threads,
            on_ended=on_ended,
            on_progress=on_progress,
            fence=self.fence,
            ledgers=ledgers.port,
        )
        self._suspects = IsolatedRunner(
            most=capacity.suspects,
            lease_s=times.shortest_lease_s,
            renewal_s=times.renewal_s,
            fence=self.fence,
            on_ended=on_ended,
            on_progress=on_progress,
            ledgers=ledgers,
            host=host,
        )

    @property
    def stuck(self) -> str | None:
        """Why no handler can start; None if handlers can start."""
        if not self.fence.is_open:
            return "the process stood still, and no renewal has told yet which jobs are still its own"
        lag_s = self._executor.handler_loop_lag_s
        if lag_s > STUCK_AFTER_S:
            return f"a handler blocks the event loop since {lag_s:.0f} s; use a plain def for blocking work"
        if self._executor.lost_threads >= 2 * self._threads:
            return "every thread hangs in a handler that is past its timeout"
        return None

    @property
    def problem(self) -> str | None:
        """Why isolated jobs wait; other jobs run meanwhile."""
        return self._suspects.problem

    @property
    def is_prepared(self) -> bool:
        """Whether all claimed jobs can start."""
        return self._suspects.is_prepared

    async def wait_prepared(self) -> None:
        """Wait until `is_prepared`."""
        await self._suspects.wait_prepared()

    async def start(self) -> None:
        """Start executor and isolated runner."""
        self._executor.start()
        self._suspects.start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run assignments, each in its place."""
        self._secrets.submit(assignments, self._run)

    def _run(self, assignments: Sequence[Assignment]) -> None:
        suspects = [one for one in assignments if one.is_suspect]
        if suspects:
            self._suspects.submit(suspects)
        if len(suspects) < len(assignments):
            self._executor.submit([one for one in assignments if not one.is_suspect])

    def interrupt(self, held: InFlight, reason: InterruptReason) -> None:
        """Stop an attempt, wherever it runs."""
        runner = self._suspects if held.job.suspect else self._executor
        runner.interrupt(held.id, held.job.attempt, reason)

    def signal_came(self, held: InFlight) -> None:
        """End the waits of an attempt, wherever it runs, because a signal may have come."""
        runner = self._suspects if held.job.suspect else self._executor
        runner.signal_came(held.id, held.job.attempt)

    def give_back_waiting(self, kinds: Collection[str]) -> None:
        """End the attempts of these kinds whose handlers wait to begin as not started."""
        self._executor.give_back_waiting(kinds)
        self._suspects.give_back_waiting(kinds)

    def beat(self) -> bool:
        """Record a heartbeat of the plumbing, several per renewal. Return True if leases may have expired in a pause:
        then no handler continues until a renewal has shown which jobs this worker still owns."""
        must_renew = self.fence.beat()
        self._suspects.beat()
        return must_renew

    async def wait_idle(self, timeout_s: float) -> None:
        """Wait until nothing runs, or for `timeout_s`."""
        await asyncio.gather(self._executor.wait_idle(timeout_s), self._suspects.wait_idle(timeout_s))

    async def close(self) -> None:
        """End all running attempts. Attempts that do not end die with the process, and are released like the others."""
        suspects, others = await asyncio.gather(
            self._suspects.close(CLOSE_WITHIN_S), self._executor.close(CLOSE_WITHIN_S)
        )
        left: list[tuple[Assignment, Ending]] = []
        left += [(assignment, Interrupted(InterruptReason.NOT_STARTED)) for assignment in await self._secrets.close()]
        left += [(assignment, Interrupted(InterruptReason.NOT_STARTED)) for assignment in suspects]
        left += [(assignment, Interrupted(InterruptReason.DRAINED)) for assignment in others]
        self._on_ended(left)
