"""Claim bundles in groups: bundles that arrive while earlier claims are in flight share one command.

No timer delays a single bundle. Groups grow with the load, by the rule of `batch_window`. Many small bundles arrive
when requests arrive one by one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from acked_common.model.bundle import Bundle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Owner
from acked_common.runtime import failpoints
from acked_common.runtime.batch_window import BatchWindow
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import ClaimStore
from acked_common.store.records import ClaimedJob
from acked_worker.consume.lane_state import LaneSettings
from acked_worker.consume.limited_claims import LaneLimits, LimitedClaim

log = get_log(__name__)

MAX_JOBS = 512
"""The maximum of jobs in one claim, except for the last bundle."""
RETRY_S = 0.3

Claimed: TypeAlias = list[ClaimedJob] | None
"""The jobs of a bundle that this worker now owns; None if it was not claimed, or if the drain came before the
outcome."""


@dataclass(slots=True, eq=False)
class _WaitingBundle:
    bundle: Bundle
    claimed: "asyncio.Future[Claimed]"


class ClaimBatcher:
    """The claims of one lane. After `drain`, claims with an unknown outcome are left to their leases."""

    def __init__(self, settings: LaneSettings, store: ClaimStore, clock: Clock) -> None:
        self._settings = settings
        self._kinds = settings.kinds
        self._store = store
        self._clock = clock
        self._waiting: deque[_WaitingBundle] = deque()
        self._waiting_jobs = 0
        self._window = BatchWindow(self._flush)
        self._is_held = False
        self._has_none_held = False
        """Whether limits are removed, and a pull since then has found no held job."""
        self._is_draining = False
        self._tasks = Tasks()

    @property
    def is_limited(self) -> bool:
        """Whether claims choose places and held jobs; without limits, and without their held jobs, they need not."""
        limits = self._settings.limits
        if limits is None or not limits.is_limited():
            return False
        if limits.is_set():
            self._has_none_held = False
        return not self._has_none_held

    async def claim(self, bundle: Bundle) -> Claimed:
        """Claim a bundle; repeat until the outcome is known."""
        if self._is_held:
            return None
        waiting = _WaitingBundle(bundle, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_jobs += len(bundle.ids)
        self._window.flush_soon(self._waiting_jobs)
        return await waiting.claimed

    async def claim_held(self, room: int) -> tuple[list[ClaimedJob], datetime] | None:
        """Claim held jobs of kinds with a limit, at most `room`. Return them, and when the newest was queued; None
        without any."""
        limits = self._settings.limits
        if self._is_held or limits is None:
            return None
        owner = self._new_owner()
        claim = self._limited(limits, [], owner, room=room)
        was_set = limits.is_set()
        claimed = await self._until_known(claim.run, jobs=room)
        self._has_none_held = not (was_set or claim.has_chosen or claimed is None)
        queued_at = claim.newest_queued_at
        return None if not claimed or queued_at is None else (claimed, queued_at)

    def hold(self) -> None:
        """Send no claim until `go_on`, not even for waiting bundles; claims in flight continue."""
        self._is_held = True
        waiting, self._waiting = self._waiting, deque()
        self._waiting_jobs = 0
        for one in waiting:
            if not one.claimed.done():
                one.claimed.set_result(None)

    def go_on(self) -> None:
        """Send claims again."""
        self._is_held = False

    def drain(self) -> None:
        """Stop sending claims."""
        self._is_draining = True

    async def stop(self) -> None:
        """Cancel the claims in flight."""
        await self._tasks.cancel_all()
        self._window.stop()

    def _flush(self) -> None:
        while self._window.may_begin(self._waiting_jobs):
            group: list[_WaitingBundle] = []
            jobs = 0
            while self._waiting and jobs < MAX_JOBS:
                waiting = self._waiting.popleft()
                group.append(waiting)
                jobs += len(waiting.bundle.ids)
            self._waiting_jobs -= jobs
            self._window.begin(jobs)
            self._tasks.spawn(self._claim_group(group, jobs), f"claim on {self._settings.lane}")

    async def _claim_group(self, group: Sequence[_WaitingBundle], jobs: int) -> None:
        try:
            # A bundle that was published twice may be in the group twice.
            claimed = await self._claim_all(list(dict.fromkeys(i for waiting in group for i in waiting.bundle.ids)))
            left = None if claimed is None else {job.id: job for job in claimed}
            for waiting in group:
                ours = None if left is None else [left.pop(i) for i in waiting.bundle.ids if i in left]
                if ours is not None and left and waiting is group[-1]:
                    # Older jobs, which a limit had held, were claimed instead of some of the bundles.
                    ours += left.values()
                if not waiting.claimed.done():
                    waiting.claimed.set_result(ours)
        except Exception as error:
            for waiting in group:
                if not waiting.claimed.done():
                    waiting.claimed.set_exception(error)
        finally:
            for waiting in group:
                # Only after a cancellation.
                waiting.claimed.cancel()
            self._window.end(jobs)
            self._flush()

    async def _claim_all(self, ids: Sequence[UUID]) -> Claimed:
        settings = self._settings
        owner = self._new_owner()
        if self._is_held:
            return None
        if settings.limits is not None and self.is_limited:
            claim = self._limited(settings.limits, ids, owner, room=len(ids))
            return await self._until_known(claim.run, jobs=len(ids))
        lease_s = settings.times.lease_of_claim(settings.kinds)

        async def claim_plainly(at: datetime) -> list[ClaimedJob]:
            return await self._store.claim(ids, kinds=self._kinds, owner=owner, lease_s=lease_s, at=at)

        return await self._until_known(claim_plainly, jobs=len(ids))

    async def _until_known(self, claim: Callable[[datetime], Awaitable[list[ClaimedJob]]], *, jobs: int) -> Claimed:
        """Repeat a claim until its outcome is known. Return None after a drain."""
        warned = False
        while not self._is_draining:
            try:
                failpoints.reach("worker.claiming")
                claimed = await claim(self._clock.now())
                failpoints.reach("worker.claimed")
                return claimed
            except StoreError as error:
                if not warned:
                    log.warning("bundles not claimed yet", lane=self._settings.lane, jobs=jobs, error=str(error))
                warned = True
                # Reuse the nonce, by which jobs of an unconfirmed claim are found.
                await asyncio.sleep(RETRY_S)
        return None

    def _new_owner(self) -> Owner:
        return Owner(self._settings.worker, self._settings.boot, str(new_id()))

    def _limited(self, limits: LaneLimits, ids: Sequence[UUID], owner: Owner, *, room: int) -> LimitedClaim:
        lease_s = self._settings.times.lease_of_claim(self._kinds)
        return LimitedClaim(limits.store, ids, room=room, kinds=self._kinds, owner=owner, lease_s=lease_s)
