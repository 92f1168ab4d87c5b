"""Run handlers separately from the plumbing loop, without knowledge of MongoDB or RabbitMQ.

`async def` handlers are tasks on a loop in a second thread; others run in a thread pool. Every assignment gets exactly
one ending, whatever its handler does. Endings are delivered and deadlines watched on the plumbing loop, so a handler
that blocks its own loop can't delay the timeout of another.
"""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context as Variables
from typing import Any

import structlog

from acked import BlockingContext, Context, Kind
from acked_common.outcomes.outcome import (
    Ending,
    InterruptReason,
    failed,
    returned,
)
from acked_common.outcomes.payload import typed_payload
from acked_common.runtime import failpoints
from acked_worker.execute.attempt import (
    Assignment,
    LedgerOf,
    RunningAttempt,
    ending_before_start,
    ending_of_stop,
)
from acked_worker.execute.attempt_calls import AttemptPort
from acked_worker.execute.deadlines import DeadlineWatch
from acked_worker.execute.endings import ending_of_error, refused
from acked_worker.execute.progress import ProgressRelay
from acked_worker.execute.stall_fence import StallFence, guarding, variables_of
from acked_worker.execute.sync_pool import SyncPool
from acked_worker.execute.thread_loop import ThreadLoop
from acked_worker.process import forks

__all__ = ["Assignment", "Executor"]

log = structlog.get_logger(__name__)

GRACE_S = 2.0

Settled = list[tuple[RunningAttempt, Ending]]


class Executor:
    """Accept assignments, run their handlers and deliver their endings in batches.

    Call all methods on the plumbing loop; the callbacks run there too. `on_progress` gets (id, attempt,
    `{"value", "message"}`), before the ending of the attempt and at most ten times a second. A handler that does not
    end within `grace_s` of its cancellation is abandoned: its ending is delivered, and a later one is ignored. While
    the `fence` is closed no handler makes a step.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        *,
        threads: int = 8,
        on_ended: Callable[[list[tuple[Assignment, Ending]]], None],
        on_progress: Callable[[list[tuple[str, int, object]]], None],
        max_result_bytes: int = 1 << 20,
        grace_s: float = GRACE_S,
        fence: StallFence | None = None,
        ledgers: LedgerOf | None = None,
    ) -> None:
        """`ledgers` makes the port of an attempt's durable calls; without it, handlers can't make any."""
        self._kinds = kinds
        self._ledgers = ledgers
        self._on_ended = on_ended
        self._max_result_bytes = max_result_bytes
        self._grace_s = grace_s
        self._live: dict[tuple[str, int], RunningAttempt] = {}
        self._abandoned: set[RunningAttempt] = set()
        self._arrived: deque[tuple[RunningAttempt, Ending]] = deque()
        self._notified = False
        self._closing = False
        self._closed = False
        self._idle = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fence = fence or StallFence()
        self._handlers = ThreadLoop("acked-handlers", guarding(self._fence))
        self._pool = SyncPool(threads, self._run_sync)
        self._progress = ProgressRelay(on_progress)
        self._watch = DeadlineWatch(self._live, self._look)

    @property
    def running(self) -> int:
        """Number of assignments without an ending."""
        return len(self._live)

    @property
    def abandoned(self) -> int:
        """Number of attempts whose ending was delivered while their handler still runs."""
        return len(self._abandoned)

    @property
    def lost_threads(self) -> int:
        """Number of pool threads stuck in such an attempt."""
        return self._pool.lost

    @property
    def handler_loop_lag_s(self) -> float:
        """Lag of the handlers' loop in seconds; it grows while a handler blocks it."""
        return self._handlers.lag_s

    def start(self) -> None:
        """Start the handlers' loop; callbacks run on the calling loop."""
        self._loop = asyncio.get_running_loop()
        self._progress.start(self._loop)
        self._handlers.start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run assignments. Raise `ValueError` for an attempt that already runs, `RuntimeError` while closing."""
        if self._loop is None or self._closing:
            raise RuntimeError("the executor is not started, or is closing")
        attempts = self._take(assignments)
        threaded: list[RunningAttempt] = []
        looped: list[RunningAttempt] = []
        for attempt in attempts:
            (looped if attempt.kind_spec.is_async else threaded).append(attempt)
        self._watch.add(attempts)
        if looped:
            self._handlers.call(self._begin, looped)
        if threaded:
            self._pool.put(threaded)

    def interrupt(self, id: str, attempt: int, reason: InterruptReason) -> None:  # noqa: A002 - the job's id
        """Stop an attempt: cancel an async handler, set `ctx.cancelled` for a sync one. Ignore unknown attempts."""
        running = self._live.get((id, attempt))
        if running is None:
            return
        if reason is InterruptReason.LEASE_LOST:
            running.has_lost_job = True
        if running.is_stopping:
            return
        running.interrupted = reason
        if running.kind_spec.is_async:
            self._cancel_within_grace([running])
        elif self._pool.withdraw(running):
            self._arrive(running, ending_of_stop(running))
        elif running.calls.port is not None:
            self._handlers.call(running.calls.stop)

    def signal_came(self, id: str, attempt: int) -> None:  # noqa: A002 - the job's id
        """End the waits of an attempt, because a signal may have come. Ignore unknown attempts."""
        running = self._live.get((id, attempt))
        if running is not None:
            running.calls.signal_came()

    def give_back_waiting(self, kinds: Collection[str]) -> None:
        """End the attempts of these kinds that wait for a thread as not started."""
        for running in list(self._live.values()):
            waits = not (running.kind_spec.is_async or running.entered or running.is_stopping)
            if waits and running.kind in kinds and self._pool.withdraw(running):
                self._arrive(running, ending_before_start(running))

    async def close(self, timeout_s: float) -> list[Assignment]:
        """Wait for running attempts, then stop threads and loop, all within `timeout_s`.

        Return the assignments without an ending; no ending is delivered after that.
        """
        if self._closed or self._loop is None:
            return []
        self._closing = True
        end = time.monotonic() + timeout_s
        reserve_s = min(1.0, timeout_s / 4)
        await self.wait_idle(timeout_s - reserve_s)
        self._collect()
        self._closed = True
        left = list(self._live.values())
        for attempt in left:
            attempt.settled = True
        self._live.clear()
        self._watch.stop()
        self._progress.stop()
        self._pool.close()
        if not await self._handlers.stop(max(0.0, end - time.monotonic())):
            log.warning("the handler loop did not stop: a handler blocks it", within_s=timeout_s)
        return [attempt.assignment for attempt in left]

    # On the plumbing loop.

    def _take(self, assignments: Sequence[Assignment]) -> list[RunningAttempt]:
        now = time.monotonic()
        taken: dict[tuple[str, int], RunningAttempt] = {}
        unknown: list[RunningAttempt] = []
        for one in assignments:
            key = (one.id, one.attempt)
            if key in self._live or key in taken:
                raise ValueError(f"attempt {one.attempt} of job {one.id} is already running")
            kind = self._kinds.get(one.kind)
            deadline = now + one.timeout_s
            attempt = RunningAttempt(
                one,
                kind or _UNKNOWN,
                deadline,
                self._progress.report,
                self._fence.wait,
                self._make_ledger if self._ledgers is not None else None,
            )
            taken[key] = attempt
            if kind is None:
                unknown.append(attempt)
        self._live.update(taken)
        for attempt in unknown:
            message = f"this worker has no handler for kind {attempt.kind!r}; load it, or stop this worker"
            self._arrive(attempt, failed("UnknownKind", message, retryable=True))
        return [attempt for attempt in taken.values() if attempt.kind_spec is not _UNKNOWN]

    def _make_ledger(self, attempt: RunningAttempt) -> AttemptPort:
        if self._ledgers is None or self._loop is None:
            raise RuntimeError("nothing keeps durable calls")
        return self._ledgers(attempt, self._handlers.loop, self._loop)

    async def wait_idle(self, timeout_s: float) -> None:
        """Return when nothing runs, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._live:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    def _cancel_within_grace(self, attempts: list[RunningAttempt]) -> None:
        due = time.monotonic() + self._grace_s
        for attempt in attempts:
            attempt.due = due
        self._watch.at(due)
        self._handlers.call(self._cancel, attempts)

    def _look(self, due: list[RunningAttempt]) -> None:
        """Stop attempts that are due; those that have ended meanwhile get their own ending."""
        settled = self._settle_arrived()
        to_cancel: list[RunningAttempt] = []
        for attempt in due:
            if attempt.settled:
                continue
            if attempt.kind_spec.is_async and not attempt.is_stopping:
                attempt.overdue = True
                to_cancel.append(attempt)
            else:
                settled.append(self._settle(attempt, self._give_up(attempt)))
        if to_cancel:
            self._cancel_within_grace(to_cancel)
        self._give_out(settled)

    def _give_up(self, attempt: RunningAttempt) -> Ending:
        where = None
        if not attempt.is_stopping:
            attempt.overdue = True
        if attempt.kind_spec.is_async:
            if not attempt.entered and attempt.interrupted is None:
                # Another handler blocks the loop. The cancel is queued ahead of the handler's first step.
                return ending_before_start(attempt)
        else:
            if self._pool.withdraw(attempt):
                return ending_before_start(attempt)
            where = self._pool.lose(attempt)
            if attempt.calls.port is not None:
                self._handlers.call(attempt.calls.stop)
        self._abandoned.add(attempt)
        log.warning(
            "a handler still runs after its attempt ended",
            kind=attempt.kind,
            job_id=attempt.id,
            attempt=attempt.attempt,
        )
        return ending_of_stop(attempt, where)

    def _collect(self) -> None:
        self._give_out(self._settle_arrived())

    def _settle_arrived(self) -> Settled:
        # Clear it first: endings that arrive from here on schedule another call.
        self._notified = False
        settled: Settled = []
        for _ in range(len(self._arrived)):
            attempt, ending = self._arrived.popleft()
            if attempt.settled:
                self._abandoned.discard(attempt)
            else:
                settled.append(self._settle(attempt, ending))
        return settled

    def _settle(self, attempt: RunningAttempt, ending: Ending) -> tuple[RunningAttempt, Ending]:
        attempt.settled = True
        del self._live[(attempt.id, attempt.attempt)]
        return attempt, ending

    def _give_out(self, settled: Settled) -> None:
        if not self._live:
            self._idle.set()
        if not settled:
            return
        self._progress.flush_for(attempt for attempt, _ in settled)
        try:
            self._on_ended([(attempt.assignment, ending) for attempt, ending in settled])
        except Exception:
            log.exception("endings were not delivered", jobs=len(settled))

    # From any thread.

    def _arrive(self, attempt: RunningAttempt, ending: Ending) -> None:
        self._arrived.append((attempt, ending))
        if not self._notified and self._loop is not None:
            self._notified = True
            try:
                self._loop.call_soon_threadsafe(self._collect, context=Variables())
            except RuntimeError:
                # The plumbing loop is closed: the ending has no receiver.
                return

    # On the handlers' loop.

    def _begin(self, attempts: list[RunningAttempt]) -> None:
        create_task = self._handlers.create_task
        for attempt in attempts:
            attempt.task = create_task(self._run(attempt), variables_of(attempt))

    def _cancel(self, attempts: list[RunningAttempt]) -> None:
        for attempt in attempts:
            # `Guarded` has already raised CancelledError in attempts that lost their job.
            if attempt.ended or attempt.stop_delivered:
                continue
            attempt.stop_delivered = True
            # Cancelling a task before its first step would end it without an ending: `_run` checks the flag instead.
            if attempt.entered and attempt.task is not None:
                attempt.task.cancel()

    async def _run(self, attempt: RunningAttempt) -> None:
        attempt.entered = True
        ending: Ending
        try:
            if attempt.asked_to_stop:
                ending = ending_before_start(attempt)
            else:
                failpoints.reach("worker.handling")
                context = attempt.calls.context = Context(attempt)
                value = await attempt.kind_spec.function(context, _payload_of(attempt))
                if forks.in_child:
                    forks.end_child()
                ending = self._ending_of(attempt, value)
        except BaseException as error:
            if forks.in_child:
                forks.end_child(error)
            # SystemExit and the like too: a handler must not end the loop that all handlers share.
            ending = ending_of_error(attempt, error)
        attempt.ended = True
        attempt.calls.end()
        self._arrive(attempt, ending)

    # In a thread of the pool.

    def _run_sync(self, attempt: RunningAttempt) -> None:
        ending: Ending
        try:
            if attempt.asked_to_stop:
                ending = ending_before_start(attempt)
            else:
                failpoints.reach("worker.handling")
                context = attempt.calls.context = BlockingContext(attempt)
                # With them, the tasks of its durable calls belong to the attempt.
                value = variables_of(attempt).run(attempt.kind_spec.function, context, _payload_of(attempt))
                if forks.in_child:
                    forks.end_child()
                ending = refused(value) if inspect.isawaitable(value) else self._ending_of(attempt, value)
        except BaseException as error:
            if forks.in_child:
                forks.end_child(error)
            ending = ending_of_error(attempt, error)
        attempt.ended = True
        if attempt.calls.port is not None:
            self._handlers.call(attempt.calls.end)
        self._arrive(attempt, ending)

    def _ending_of(self, attempt: RunningAttempt, value: Any) -> Ending:
        # It may have returned early because of the stop request: that is not a result.
        if attempt.stop_delivered or attempt.stop_seen:
            return ending_of_stop(attempt)
        return attempt.calls.ending or returned(value, self._max_result_bytes)


def _payload_of(attempt: RunningAttempt) -> object:
    return typed_payload(attempt.kind_spec, attempt.assignment.payload)


def _no_handler(ctx: Context, payload: object) -> None:
    """Stand in for a kind that this worker does not have; never called."""


_UNKNOWN = Kind("unknown", _no_handler, False, options=None, module=__name__, place="")  # type: ignore[arg-type]
