"""Claim jobs of kinds with a limit, as far as it has free places, and hold the others without a message.

A held job stays queued in MongoDB. It occupies no slot, no message and no place in its lane, so it delays no other job.
Workers claim held jobs in two ways: with each bundle of the kind, oldest first, and by a *pull*, which follows each
recorded end of such a job and otherwise comes once a second. `model/limits` has the rule and its proof.

Once a limit is removed and a pull has found no held job, bundles are claimed as if there had never been a limit. The
pulls of each second go on: a worker that has not heard of the removal may still hold a job.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from acked_common.model.lifecycle import Owner
from acked_common.model.limits import Placement, TakenPlaces, WaitingJob, full_tenants, places_for, places_left
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.limits import LimitedClaimStore, PlacedClaim, Places
from acked_common.store.records import ClaimedJob

log = get_log(__name__)

ROUNDS = 3
"""How often one claim chooses places. Another worker may take a chosen one first; a later pull gets what is left."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How one lane claims jobs of kinds with a limit."""

    store: LimitedClaimStore
    is_limited: Callable[[], bool]
    """Whether a kind of the lane has, or had, a limit. Without one, the lane claims as if there were none."""
    is_set: Callable[[], bool]
    """Whether a kind of the lane has a limit now. Once all are removed, only the jobs that are held still matter."""


class LimitedClaim:
    """One claim, which may be repeated after a `StoreError` until its outcome is known."""

    def __init__(
        self,
        store: LimitedClaimStore,
        ids: Sequence[UUID],
        *,
        room: int,
        kinds: Collection[str],
        owner: Owner,
        lease_s: float,
    ) -> None:
        """`ids`: jobs of bundles, whose message ends with this claim. `room`: the maximum of jobs to claim, among them
        and held ones."""
        self._store = store
        self._ids = ids
        self._room = room
        self._kinds = kinds
        self._owner = owner
        self._lease_s = lease_s
        self._spread = UUID(owner.nonce).int
        self._got: dict[UUID, ClaimedJob] = {}
        self._unknown: PlacedClaim | None = None
        """The write whose outcome is unknown."""
        self._queued_at: dict[UUID, datetime] = {}

    async def run(self, at: datetime) -> list[ClaimedJob]:
        """Claim what may start, and hold the rest. Return the jobs that the owner now holds. `at` is the time of this
        call. Raises `StoreError`; call again until it returns."""
        if self._unknown is not None:
            await self._write(self._unknown)
        left: list[UUID] = []
        for _ in range(ROUNDS):
            chosen, left = await self._round(at)
            if all(one.id in self._got for one in chosen):
                break
        if left:
            await self._hold(left)
        return list(self._got.values())

    @property
    def has_chosen(self) -> bool:
        """Whether it has found a job to start, whoever has claimed that then."""
        return bool(self._queued_at)

    @property
    def newest_queued_at(self) -> datetime | None:
        """When the newest of the claimed jobs was queued; None without any."""
        return max((self._queued_at[job_id] for job_id in self._got), default=None)

    async def _round(self, at: datetime) -> tuple[list[Placement], list[UUID]]:
        """Choose and claim once. Return the chosen jobs, and those of `ids` that a limit leaves without a start."""
        asked = [job_id for job_id in self._ids if job_id not in self._got]
        places = await self._store.read_places(self._kinds)
        waiting = await self._store.queued_jobs(asked, kinds=self._kinds)
        chosen = await self._choose(waiting, places)
        if chosen:
            await self._write(PlacedClaim(chosen, self._owner, self._lease_s, at, places.until_at))
        left = [job.id for job in waiting if job.kind in places.limits and job.id not in self._got]
        return chosen, left

    async def _choose(self, waiting: Sequence[WaitingJob], places: Places) -> list[Placement]:
        room = self._room - len(self._got)
        if room <= 0:
            return []
        found = {job.id: job for job in waiting}
        chosen = [Placement(job.id) for job in waiting if job.kind not in places.limits]
        for kind, limit in places.limits.items():
            taken = places.taken.get(kind, TakenPlaces())
            left = room if limit.running is None else min(room, places_left(limit.running, taken.of_kind))
            # A full kind is not searched.
            held = await self._store.held_jobs(kind, without=full_tenants(limit, taken), limit=left) if left else []
            own = {job.id: job for job in (*waiting, *held) if job.kind == kind}
            found |= own
            if limit.is_set:
                chosen += places_for(limit, taken, list(own.values()), spread=self._spread)
            else:
                chosen += [Placement(job_id) for job_id in own]
        chosen.sort(key=lambda one: (found[one.id].queued_at, one.id))
        self._queued_at |= {one.id: found[one.id].queued_at for one in chosen[:room]}
        return chosen[:room]

    async def _write(self, claim: PlacedClaim) -> None:
        self._unknown = claim
        for job in await self._store.claim_placed(claim):
            self._got[job.id] = job
        self._unknown = None

    async def _hold(self, ids: Sequence[UUID]) -> None:
        try:
            await self._store.hold_jobs(ids)
        except StoreError as error:
            # Claimed jobs must not wait for this. The sweeper publishes the others again.
            log.warning("jobs beyond a limit not held", jobs=len(ids), error=str(error))
