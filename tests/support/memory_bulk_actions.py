"""Bulk actions in memory: `BulkStore` and `ChoiceStore` with the semantics of those on MongoDB."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from acked_common.model.attempts import UNGROUPED
from acked_common.model.bulk_actions import MOST_ACTIVE, MOST_ACTIVE_OF_TENANT, Abort, BulkAction, JobChoice
from acked_common.model.lifecycle_waits import NO_SIGNAL, waits_from
from acked_common.runtime.clock import Clock
from acked_common.store.bulk_actions import Added, BulkPage, ChosenCount, ChosenJobs, RenewedLease, TakenAction
from acked_common.store.mongo.bulk_choice import id_range
from acked_common.store.mongo.bulk_documents import abort_document, action_from, new_document, save_update, unpacked
from acked_common.store.mongo.documents import ATTENDED_TO, Document, job_from
from acked_common.store.records import Job

_WITHOUT = frozenset({"payload", "result", "attempts", "tracebacks"})


class MemoryChoices:
    """`ChoiceStore` over the jobs of a store in memory."""

    def __init__(self, jobs: Mapping[UUID, Document]) -> None:
        self._jobs = jobs

    async def newest_id(self, tenant: str) -> UUID | None:
        return max((job_id for job_id, job in self._jobs.items() if job["tenant"] == tenant), default=None)

    async def count(self, choice: JobChoice, *, up_to: UUID, at_most: int, within_s: float) -> ChosenCount:
        count = len(self._chosen(choice, up_to, None))
        return ChosenCount(min(count, at_most), is_exact=count <= at_most)

    async def jobs_in(self, choice: JobChoice, *, up_to: UUID, after: UUID | None, limit: int) -> ChosenJobs:
        jobs = [_job(document) for document in self._chosen(choice, up_to, after)[:limit]]
        return ChosenJobs(jobs, jobs[-1].id if len(jobs) == limit else None)

    async def jobs_of(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Job]:
        return {
            job_id: _job(self._jobs[job_id])
            for job_id in ids
            if job_id in self._jobs and self._jobs[job_id]["tenant"] == tenant
        }

    def _chosen(self, choice: JobChoice, up_to: UUID, after: UUID | None) -> list[Document]:
        bounds = id_range(choice, after=after, up_to=up_to)
        return [
            self._jobs[job_id]
            for job_id in sorted(self._jobs)
            if _is_within(job_id, bounds) and _fits(self._jobs[job_id], choice)
        ]


def _is_within(job_id: UUID, bounds: Mapping[str, UUID]) -> bool:
    checks = {
        "$lte": lambda bound: job_id <= bound,
        "$lt": lambda bound: job_id < bound,
        "$gte": lambda bound: job_id >= bound,
        "$gt": lambda bound: job_id > bound,
    }
    return all(checks[name](bound) for name, bound in bounds.items())


def _fits(job: Document, choice: JobChoice) -> bool:
    return (
        job["tenant"] == choice.tenant
        and job["state"] in {state.value for state in choice.states}
        and choice.kind in (None, job["kind"])
        and choice.batch in (None, job.get("batch"))
        and (choice.tag is None or choice.tag in job.get("tags", ()))
        and _is_in_group(job, choice.error_group)
        and _waits_for(job, choice.waiting_for)
    )


def _waits_for(job: Document, wanted: str | None) -> bool:
    waits = waits_from(job.get("waits"))
    if wanted is None or waits is None:
        return wanted is None
    return not waits.signals if wanted == NO_SIGNAL else waits.wakes_on(wanted)


def _is_in_group(job: Document, wanted: str | None) -> bool:
    group = job.get("error", {}).get("group")
    if wanted == UNGROUPED:
        return group is None and job["reason"] not in ATTENDED_TO
    return wanted in (None, group)


def _job(document: Document) -> Job:
    return job_from(deepcopy({name: value for name, value in document.items() if name not in _WITHOUT}))


class MemoryBulkActions:
    """`BulkStore` in memory. No verb awaits between reading and writing, so each is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._actions: dict[UUID, Document] = {}
        self._leases: dict[UUID, tuple[str, datetime]] = {}

    async def add(self, action: BulkAction, ids: Sequence[UUID]) -> Added:
        if action.id in self._actions:
            return Added.ADDED
        active = [document for document in self._actions.values() if _is_active(document)]
        if sum(document["tenant"] == action.order.tenant for document in active) >= MOST_ACTIVE_OF_TENANT:
            return Added.TENANT_FULL
        if len(active) >= MOST_ACTIVE:
            return Added.ALL_FULL
        self._actions[action.id] = deepcopy(new_document(action, ids))
        return Added.ADDED

    def all(self) -> Sequence[BulkAction]:
        """Return every action, of all tenants."""
        return [_action(document) for document in self._actions.values()]

    async def get(self, action_id: UUID, *, tenant: str) -> BulkAction | None:
        document = self._actions.get(action_id)
        return None if document is None or document["tenant"] != tenant else _action(document)

    async def list(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BulkPage:
        found = [
            _action(self._actions[action_id])
            for action_id in sorted(self._actions, reverse=True)
            if self._actions[action_id]["tenant"] == tenant and (before is None or action_id < before)
        ]
        return BulkPage(found[:page_size], found[page_size - 1].id if len(found) > page_size else None)

    async def ids_of(self, action_id: UUID) -> Sequence[UUID]:
        document = self._actions.get(action_id, {})
        return unpacked(bytes(document["ids"])) if "ids" in document else []

    async def take(self, owner: str, *, lease_s: float, but: Sequence[UUID]) -> TakenAction | None:
        now = self._clock.now()
        for action_id in sorted(self._actions):
            until = self._leases[action_id][1] if action_id in self._leases else now
            if _is_active(self._actions[action_id]) and action_id not in but and until <= now:
                until = now + timedelta(seconds=lease_s)
                self._leases[action_id] = owner, until
                return TakenAction(_action(self._actions[action_id]), until)
        return None

    async def renew(self, ids: Sequence[UUID], *, owner: str, lease_s: float) -> Mapping[UUID, RenewedLease]:
        until = self._clock.now() + timedelta(seconds=lease_s)
        ours = [action_id for action_id in ids if self._is_ours(action_id, owner)]
        self._leases |= dict.fromkeys(ours, (owner, until))
        return {action_id: RenewedLease(until, "abort" in self._actions[action_id]) for action_id in ours}

    async def give_back(self, owner: str) -> None:
        self._leases = {action_id: lease for action_id, lease in self._leases.items() if lease[0] != owner}

    async def save(self, action: BulkAction, *, owner: str) -> BulkAction | None:
        document = self._actions.get(action.id)
        if document is None:
            return None
        if self._is_ours(action.id, owner) and document["position"]["number"] == action.position.number - 1:
            update = deepcopy(save_update(action))
            document |= update["$set"]
            for name in update.get("$unset", ()):
                document.pop(name, None)
        found = _action(document)
        is_ours = self._is_ours(action.id, owner) or found.ended_at is not None
        stands_alike = (found.position, found.state, found.tally) == (action.position, action.state, action.tally)
        return found if is_ours and stands_alike else None

    async def request_abort(self, action_id: UUID, abort: Abort, *, tenant: str) -> BulkAction | None:
        document = self._actions.get(action_id)
        if document is not None and document["tenant"] == tenant and _is_active(document):
            document.setdefault("abort", abort_document(abort))
        return await self.get(action_id, tenant=tenant)

    def _is_ours(self, action_id: UUID, owner: str) -> bool:
        is_held = action_id in self._leases and self._leases[action_id][0] == owner
        return is_held and action_id in self._actions and _is_active(self._actions[action_id])


def _is_active(document: Mapping[str, Any]) -> bool:
    return "ended_at" not in document


def _action(document: Document) -> BulkAction:
    return action_from(deepcopy(document))
