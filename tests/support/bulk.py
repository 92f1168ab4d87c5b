"""Bulk actions under test: failed jobs of a group, actions over them, and parts that die at a chosen call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from acked_common.model import lifecycle
from acked_common.model.bulk_actions import BulkAction, BulkOrder, BulkPlan, BulkVerb, JobChoice
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT, Actor
from acked_common.store.records import Job
from support.factories import ERROR, RETENTION_S, moved, running
from support.whole_store import JobStore

GROUP = "1aa"
BY = Actor("ops", "tokenid23456")


async def failed_in_group(store: JobStore, group: str = GROUP, *, at: datetime, **fields: Any) -> Job:
    """Insert a job that failed at an instant with an error of a group."""
    job = await running(store, claimed_at=at, **fields)
    error = {**ERROR, "group": group}
    return await moved(store, job, lifecycle.fail(at=at, error=error, retention_s=RETENTION_S, exhausted=False))


def chosen(*states: State, tenant: str = DEFAULT_TENANT, **fields: Any) -> JobChoice:
    """Return a choice of jobs; of failed ones unless states are named."""
    return JobChoice(tenant, tuple(sorted(states or (State.FAILED,))), **fields)


def ordered(
    plan: BulkPlan, verb: BulkVerb = BulkVerb.RETRY, *, choice: JobChoice | None = None, ids: int = 0, **fields: Any
) -> BulkAction:
    """Return a new bulk action; of the default group unless a choice or a number of ids is given."""
    if choice is None and not ids:
        choice = chosen(error_group=GROUP)
    tenant = DEFAULT_TENANT if choice is None else choice.tenant
    order = BulkOrder(tenant, verb, BY, plan.planned_at, choice=choice, id_count=ids, **fields)
    return BulkAction(new_id(), order, plan)


def plan_of(jobs: Sequence[Job], at: datetime, *, up_to: UUID | None = None) -> BulkPlan:
    """Return a plan over all of these jobs."""
    return BulkPlan(at, up_to or max(job.id for job in jobs), len(jobs))


class Life:
    """The life of one process: it ends at its n-th call of a store, before or after the call."""

    def __init__(self, dies_at: int = 0, *, is_done_before: bool = False) -> None:
        """`dies_at` 0: it lives on."""
        self.calls = 0
        self.is_over = False
        self._dies_at = dies_at
        self._is_done_before = is_done_before

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make one call, unless the process is dead or dies now."""
        self.calls += 1
        if self.is_over:
            raise asyncio.CancelledError
        if self.calls != self._dies_at:
            return await call()
        self.is_over = True
        if self._is_done_before:
            await call()
        # As a kill: nothing that handles errors runs.
        raise asyncio.CancelledError


class Mortal:
    """A part whose calls go through the life of a process."""

    def __init__(self, part: Any, life: Life, verbs: Mapping[str, object] | frozenset[str]) -> None:
        self._part, self._life, self._verbs = part, life, verbs

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in self._verbs:
            return found
        return lambda *args, **kwargs: self._life.through(lambda: found(*args, **kwargs))


MORTAL_VERBS = frozenset({"jobs_in", "jobs_of", "ids_of", "get", "take", "renew", "save", "apply"})


def mortal(part: Any, life: Life) -> Any:
    """Return a part of a process with this life."""
    return Mortal(part, life, MORTAL_VERBS)
