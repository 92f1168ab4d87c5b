"""Claims bundles in groups: what has arrived while earlier claims were under way is claimed with one command.

No timer makes a lonely bundle wait; load makes the claims grow, by the rule of `batch_window`. Small bundles come in
numbers when requests come one by one.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
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

log = get_log(__name__)

MAX_JOBS = 512
"""In one claim, but for the last bundle."""
RETRY_S = 0.3

Claimed: TypeAlias = list[ClaimedJob] | None
"""The jobs of a bundle that are ours now; None where it was not claimed, or the worker drains before anybody knows."""


@dataclass(slots=True, eq=False)
class _WaitingBundle:
    bundle: Bundle
    claimed: "asyncio.Future[Claimed]"


class ClaimBatcher:
    """The claims of one lane. `drain` ends them: what is not known by then is left to its lease."""

    def __init__(self, settings: LaneSettings, store: ClaimStore, clock: Clock) -> None:
        self._settings = settings
        self._kinds = settings.kinds
        self._store = store
        self._clock = clock
        self._waiting: deque[_WaitingBundle] = deque()
        self._waiting_jobs = 0
        self._window = BatchWindow(self._flush)
        self._is_held = False
        self._is_draining = False
        self._tasks = Tasks()

    async def claim(self, bundle: Bundle) -> Claimed:
        """Claims a bundle; tries again until it is known what is ours."""
        if self._is_held:
            return None
        waiting = _WaitingBundle(bundle, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_jobs += len(bundle.ids)
        self._window.flush_soon(self._waiting_jobs)
        return await waiting.claimed

    def hold(self) -> None:
        """Claims nothing until `go_on`, also of what waits for an earlier claim; what was asked for goes on."""
        self._is_held = True
        waiting, self._waiting = self._waiting, deque()
        self._waiting_jobs = 0
        for one in waiting:
            if not one.claimed.done():
                one.claimed.set_result(None)

    def go_on(self) -> None:
        """Claims again."""
        self._is_held = False

    def drain(self) -> None:
        """Claims no more."""
        self._is_draining = True

    async def stop(self) -> None:
        """Gives up what is under way."""
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
            # A bundle that was published twice may be here twice.
            claimed = await self._claim_all(list(dict.fromkeys(i for waiting in group for i in waiting.bundle.ids)))
            left = None if claimed is None else {job.id: job for job in claimed}
            for waiting in group:
                ours = None if left is None else [left.pop(i) for i in waiting.bundle.ids if i in left]
                if not waiting.claimed.done():
                    waiting.claimed.set_result(ours)
        except Exception as error:
            for waiting in group:
                if not waiting.claimed.done():
                    waiting.claimed.set_exception(error)
        finally:
            for waiting in group:
                # Only where this was cancelled.
                waiting.claimed.cancel()
            self._window.end(jobs)
            self._flush()

    async def _claim_all(self, ids: Sequence[UUID]) -> Claimed:
        settings = self._settings
        lease_s = settings.times.lease_of_claim(settings.kinds)
        owner = Owner(settings.worker, settings.boot, str(new_id()))
        warned = False
        if self._is_held:
            return None
        while not self._is_draining:
            try:
                failpoints.reach("worker.claiming")
                claimed = await self._store.claim(
                    ids, kinds=self._kinds, owner=owner, lease_s=lease_s, at=self._clock.now()
                )
                failpoints.reach("worker.claimed")
                return claimed
            except StoreError as error:
                if not warned:
                    log.warning("bundles not claimed yet", lane=settings.lane, jobs=len(ids), error=str(error))
                warned = True
                # The same nonce again: what an unconfirmed claim has taken is found by it.
                await asyncio.sleep(RETRY_S)
        return None
