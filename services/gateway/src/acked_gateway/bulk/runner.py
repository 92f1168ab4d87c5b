"""Execute the bulk actions that this process holds, and take those without an owner.

A page is recorded before its jobs move, and counted afterwards. If a page is recorded but not counted, the next owner
(after a kill) or this one (after an error) settles it again. So kills do not change the outcome.

A write that moves jobs takes effect only during the lease under which it was sent: MongoDB compares the two at the
write. So after an abort, no earlier write takes effect once the page is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter, Gauge

from acked_common.model.bulk_actions import (
    MOST_ACTIVE,
    BulkAction,
    BulkState,
    with_count,
    with_end,
    with_page,
)
from acked_common.model.token_bucket import TokenBucket
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.bulk_actions import BulkStore, TakenAction
from acked_common.store.errors import StoreError, StoreUnavailable
from acked_common.store.records import Job
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.plan import page_size

log = get_log(__name__)

LEASE_S = 4.0
SAFE_S = 2.5
"""How long after a renewal jobs may move; the rest of the lease is for writes in flight."""
RENEW_EVERY_S = 0.4
"""Bounds the delay of an abort."""
TAKE_EVERY_S = 1.0
PAGES_AT_ONCE = 4
"""Pages in progress in one process. They must not take all of its connections to MongoDB."""
PAUSE_S = 0.5
"""The pause after an error of the store."""
STOP_WITHIN_S = 3.0

_held = Gauge("acked_bulk_actions", "Bulk actions that this process carries out.")
_ended = Counter("acked_bulk_actions_ended_total", "Bulk actions that ended here.", ["action", "state"])
_jobs = Counter("acked_bulk_jobs_total", "Jobs that bulk actions moved, or did not move.", ["action", "outcome"])


class _NotOurs(Exception):
    """Another process may hold the action by now, or this process stops."""


@dataclass(frozen=True, slots=True)
class _Lease:
    """A lease as it was granted; `safe_until` and `over_at` are on the monotonic clock."""

    until_at: datetime
    """By the store's clock: later than that, no write under this lease takes effect."""
    safe_until: float
    """Jobs may move up to here."""
    over_at: float
    """By then, the store's clock has passed `until_at`."""


@dataclass(slots=True)
class _Held:
    """One action that this process holds."""

    action: BulkAction
    lease: _Lease
    ids: Sequence[UUID] | None = None
    """Read once; None before."""
    scanned: UUID | None = None
    """The position up to which jobs were read, if beyond the counted one."""
    is_over: bool = False
    """Whether the newest page is the last one."""
    bucket: TokenBucket | None = None
    abort_asked: bool = False
    is_lost: bool = False
    late_until: float = 0.0
    """On the monotonic clock: up to here a write of the page may take effect whose answer is missing."""
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a change must end a wait."""


class BulkRunner:
    """The bulk actions of one gateway process."""

    def __init__(self, store: BulkStore, pages: Pages, clock: Clock, *, owner: str) -> None:
        """`owner` identifies this process."""
        self._store = store
        self._pages = pages
        self._clock = clock
        self._owner = owner
        self._actions: dict[UUID, _Held] = {}
        self._turns = asyncio.Semaphore(PAGES_AT_ONCE)
        self._tasks = Tasks()
        self._work: set[asyncio.Task[None]] = set()
        self._late_until = 0.0
        """Of the actions that were left to others."""
        self._is_stopping = False

    async def start_when(self, is_ready: Callable[[], Awaitable[None]], tasks: Tasks) -> None:
        """Start to take actions as soon as `is_ready` returns, when MongoDB's time is known."""
        await is_ready()
        self.start(tasks)

    def start(self, tasks: Tasks) -> None:
        """Start to take actions."""
        tasks.repeat("bulk actions", self.take, every_s=TAKE_EVERY_S)
        tasks.repeat("leases of bulk actions", self.renew, every_s=RENEW_EVERY_S)

    def wake(self) -> None:
        """Check for a new action at once."""
        if not self._is_stopping:
            self._tasks.spawn(self._take_quietly(), "look for bulk actions")

    @property
    def held(self) -> int:
        """Return how many actions this process executes now."""
        return len(self._actions)

    async def stop(self) -> None:
        """Stop after the pages in progress, and release the actions so that others take them at once."""
        self._is_stopping = True
        for held in self._actions.values():
            held.stirred.set()
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=STOP_WITHIN_S)
            for task in late:
                task.cancel()
        await self._tasks.cancel_all(within_s=1.0)
        if self._late_until > self._clock.monotonic():
            log.info("bulk actions not given back: a write may be under way; their leases run out")
            return
        try:
            await self._store.give_back(self._owner)
        except StoreError as error:
            log.info("bulk actions not released; their leases expire", error=str(error))

    async def take(self) -> None:
        """Take all actions without an owner, up to a bound. Raises `StoreError`."""
        while not self._is_stopping and len(self._actions) < MOST_ACTIVE:
            asked = self._clock.monotonic()
            taken = await self._store.take(self._owner, lease_s=LEASE_S, but=list(self._actions))
            if taken is None:
                return
            held = self._held(taken, asked)
            action = taken.action
            self._actions[action.id] = held
            _held.set(len(self._actions))
            log.info("bulk action taken", bulk_action=str(action.id), handled=action.tally.handled)
            work = self._tasks.spawn(self._carry_out(held), f"bulk action {action.id}")
            self._work.add(work)
            work.add_done_callback(self._work.discard)

    def _held(self, taken: TakenAction, asked: float) -> _Held:
        action = taken.action
        held = _Held(action, self._lease(taken.until_at, asked), abort_asked=action.abort is not None)
        if (rate := action.order.rate_per_s) is not None:
            size = page_size(rate)
            held.bucket = TokenBucket(rate, 2.0 * size)
            # The first page is paid for too, within a second.
            held.bucket.take(size + min(size, rate), asked)
        return held

    def _lease(self, until_at: datetime, asked: float) -> _Lease:
        """Return a lease as of the time of its request."""
        return _Lease(until_at, asked + SAFE_S, self._clock.monotonic() + LEASE_S)

    async def _take_quietly(self) -> None:
        try:
            await self.take()
        except StoreError:
            # The loop takes the action and logs the error.
            pass

    async def renew(self) -> None:
        """Renew all leases; detect aborts, and actions that this process no longer owns. Raises `StoreError`."""
        if not (before := dict(self._actions)):
            return
        asked = self._clock.monotonic()
        found = await self._store.renew(list(before), owner=self._owner, lease_s=LEASE_S)
        for action_id, held in before.items():
            if action_id not in found:
                held.is_lost = True
                held.stirred.set()
                continue
            held.lease = self._lease(found[action_id].until_at, asked)
            if found[action_id].abort_asked:
                held.abort_asked = True
                held.stirred.set()

    async def _carry_out(self, held: _Held) -> None:
        try:
            while not await self._go_on(held):
                pass
        except _NotOurs:
            log.info("bulk action left to others", bulk_action=str(held.action.id))
        except Exception as error:
            log.exception("bulk action failed", bulk_action=str(held.action.id))
            await self._give_up(held, f"{type(error).__name__}: see the log of this gateway")
        finally:
            self._late_until = max(self._late_until, held.late_until)
            del self._actions[held.action.id]
            _held.set(len(self._actions))

    async def _go_on(self, held: _Held) -> bool:
        """Process one page. Return whether the action has ended."""
        try:
            await self._pace(held)
            async with self._turns:
                self._check_ours(held)
                return await self._step(held)
        except StoreError as error:
            log.info("bulk action waits for the store", bulk_action=str(held.action.id), error=str(error))
            await asyncio.sleep(PAUSE_S)
            self._check_ours(held)
            await self._read_again(held)
            return False

    async def _read_again(self, held: _Held) -> None:
        """Read the action again after a write with an unknown outcome."""
        held.scanned, held.is_over = None, False
        try:
            found = await self._store.get(held.action.id, tenant=held.action.order.tenant)
        except StoreError:
            return
        if found is None or found.ended_at is not None:
            raise _NotOurs
        held.action = found

    async def _step(self, held: _Held) -> bool:
        action = held.action
        if action.position.page:
            if self._late_s(held) <= 0:
                await self._settle(held, None)
            return False
        if held.abort_asked:
            await self._end(held, BulkState.ABORTED)
            return True
        if held.is_over:
            await self._end(held, BulkState.DONE)
            return True
        if held.ids is None:
            held.ids = [] if action.order.choice is not None else await self._store.ids_of(action.id)
        size = page_size(action.order.rate_per_s)
        after = held.scanned if held.scanned is not None else action.position.cursor
        page = await self._pages.next_page(action, held.ids, after=after, limit=size)
        if page.ids:
            if held.bucket is not None:
                held.bucket.take(len(page.ids), self._clock.monotonic())
            await self._save(held, with_page(action, page.ids, self._clock.now()))
            failpoints.reach("bulk.paged")
            await self._settle(held, page.jobs)
        held.scanned, held.is_over = page.next_after, page.next_after is None
        return False

    async def _settle(self, held: _Held, fresh: Mapping[UUID, Job] | None) -> None:
        action = held.action
        settled = await self._pages.settle(
            action, fresh, may_move=not held.abort_asked, write_until=lambda: self._write_until(held)
        )
        held.late_until = 0.0
        failpoints.reach("bulk.applied")
        await self._save(held, with_count(action, settled.done, settled.refusals))
        failpoints.reach("bulk.counted")
        _jobs.labels(action.order.verb.value, "done").inc(settled.done)
        _jobs.labels(action.order.verb.value, "refused").inc(len(settled.refusals))

    async def _end(self, held: _Held, state: BulkState, failure: str | None = None) -> None:
        await self._save(held, with_end(held.action, state, self._clock.now(), failure))
        action = held.action
        _ended.labels(action.order.verb.value, state.value).inc()
        log.info(
            "bulk action ended",
            bulk_action=str(action.id),
            action=action.order.verb.value,
            state=state.value,
            done=action.tally.done,
            refused=dict(action.tally.refused),
        )

    async def _give_up(self, held: _Held, failure: str) -> None:
        try:
            await self._end(held, BulkState.FAILED, failure)
        except (StoreError, _NotOurs) as error:
            log.warning("bulk action not ended; another gateway continues it", error=str(error))

    async def _save(self, held: _Held, action: BulkAction) -> None:
        saved = await self._store.save(action, owner=self._owner)
        if saved is None:
            raise _NotOurs
        held.action = saved
        held.abort_asked = held.abort_asked or saved.abort is not None

    async def _pace(self, held: _Held) -> None:
        """Wait until the rate allows a page. An abort does not wait, nor does a recorded page, but no write of its jobs
        may be in flight then."""
        while (late_s := self._late_s(held)) > 0:
            await asyncio.sleep(min(late_s, PAUSE_S))
            self._check_ours(held)
        if held.bucket is None or held.abort_asked or held.action.position.page or held.is_over:
            return
        held.bucket.take(0.0, self._clock.monotonic())
        await _pause(held, held.bucket.wait_s(page_size(held.action.order.rate_per_s)))

    def _check_ours(self, held: _Held) -> None:
        if held.is_lost or self._is_stopping:
            raise _NotOurs

    def _late_s(self, held: _Held) -> float:
        """Return how long an aborted action waits until its page is counted: while jobs may still move."""
        return held.late_until - self._clock.monotonic() if held.abort_asked else 0.0

    def _write_until(self, held: _Held) -> datetime:
        """Return until when a write that is sent now may take effect. Raise if the lease may have expired, because
        another process may own the action by now."""
        if held.is_lost:
            raise _NotOurs
        if self._clock.monotonic() > held.lease.safe_until:
            raise StoreUnavailable("the lease of the bulk action was not renewed in time")
        held.late_until = held.lease.over_at
        return held.lease.until_at


async def _pause(held: _Held, for_s: float) -> None:
    """Wait. An abort, a lost lease or a stop ends the wait."""
    if for_s <= 0 or held.stirred.is_set():
        return
    try:
        async with asyncio.timeout(for_s):
            await held.stirred.wait()
    except TimeoutError:
        pass
