"""The requests of clients for bulk actions: a dry run, a new action, an abort."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.audit import AuditAction
from acked_common.model.bulk_actions import (
    COUNTED_UP_TO,
    EXAMPLES_KEPT,
    MOST_ACTIVE,
    MOST_ACTIVE_OF_TENANT,
    Abort,
    BulkAction,
    BulkOrder,
    BulkPlan,
    JobChoice,
)
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Transition
from acked_common.model.principal import Actor, Operator
from acked_common.runtime.clock import Clock
from acked_common.store.bulk_actions import Added, BulkStore, ChoiceStore
from acked_common.store.records import Job
from acked_gateway.audit.notes import Audit
from acked_gateway.bulk import rules
from acked_gateway.bulk.body import Wish, choice_of
from acked_gateway.bulk.plan import PlanError, PlannedFor, plan_from, token_of
from acked_gateway.jobs.acts import Acts

COUNT_WITHIN_S = 1.0
LOOKS_FOR_EXAMPLES = 5
IDS_AT_ONCE = 1000
NO_JOB = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Preview:
    """The result of a dry run: the number of jobs, some of them, and the token of the plan."""

    plan: BulkPlan
    count: int
    examples: Sequence[Job]
    token: str


class BulkOrders:
    """Bulk actions of tenants; every method raises `ProblemError` or `StoreError`."""

    def __init__(
        self,
        choices: ChoiceStore,
        store: BulkStore,
        clock: Clock,
        acts: Acts,
        *,
        audit: Audit,
        wake: Callable[[], None],
    ) -> None:
        """`wake` makes an owner check for new actions at once."""
        self._choices = choices
        self._store = store
        self._clock = clock
        self._acts = acts
        self._audit = audit
        self._wake = wake

    async def preview(self, wish: Wish, tenant: str) -> Preview:
        """Count the jobs of a wish, and read some of them; change nothing."""
        plan, choice = await self._planned(wish, tenant)
        if choice is None:
            count, examples = await self._movable(wish, plan, tenant)
        else:
            count, examples = plan.matched, await self._examples(choice, plan)
        return Preview(plan, count, examples, token_of(plan, _planned_for(wish, tenant)))

    async def order(self, wish: Wish, operator: Operator) -> BulkAction:
        """Store a new action. An owner takes it within a second."""
        tenant = operator.tenant
        plan, choice = await self._planned(wish, tenant)
        action = BulkAction(
            new_id(),
            BulkOrder(
                tenant=tenant,
                verb=wish.verb,
                by=operator.actor,
                asked_at=self._clock.now(),
                choice=choice,
                id_count=len(wish.ids),
                rate_per_s=wish.rate_per_s,
                reason=wish.reason,
                resolution=wish.resolution,
            ),
            plan,
        )
        target: dict[str, Any] = {"bulk": str(action.id), "action": wish.verb.value}
        target |= {"ids": len(wish.ids)} if wish.filter is None else {"filter": dict(wish.filter)}
        await self._audit.note(operator, AuditAction.BULK, target, reason=wish.reason, count=plan.matched)
        added = await self._store.add(action, wish.ids)
        if added is not Added.ADDED:
            raise _too_many(added)
        self._wake()
        return action

    async def abort(self, action_id: UUID, operator: Operator) -> BulkAction | None:
        """Request the abort of an action; None if the tenant has none with this id. An ended action does not change."""
        tenant = operator.tenant
        found = await self._store.get(action_id, tenant=tenant)
        if found is None or found.ended_at is not None or found.abort is not None:
            return found
        target = {"bulk": str(action_id), "action": found.order.verb.value}
        await self._audit.note(operator, AuditAction.BULK_ABORT, target)
        return await self._store.request_abort(action_id, Abort(operator.actor, self._clock.now()), tenant=tenant)

    async def _planned(self, wish: Wish, tenant: str) -> tuple[BulkPlan, JobChoice | None]:
        """Return the plan that the wish contains, or a new one."""
        now = self._clock.now()
        if wish.plan is not None:
            try:
                plan = plan_from(wish.plan, _planned_for(wish, tenant), now)
            except PlanError as error:
                errors: list[ErrorAt] = [{"pointer": "/plan", "detail": str(error)}]
                raise ProblemError(problem("invalid-field", f"plan {error}", errors=errors)) from None
            return plan, choice_of(wish, tenant, plan.planned_at)
        if wish.filter is None:
            return BulkPlan(now, wish.ids[-1], len(wish.ids)), None
        up_to = await self._choices.newest_id(tenant) or NO_JOB
        choice = choice_of(wish, tenant, now)
        if choice is None:
            raise ValueError("a filter chooses jobs")
        counted = await self._choices.count(choice, up_to=up_to, at_most=COUNTED_UP_TO, within_s=COUNT_WITHIN_S)
        return BulkPlan(now, up_to, counted.count, counted.is_exact), choice

    async def _examples(self, choice: JobChoice, plan: BulkPlan) -> Sequence[Job]:
        found: list[Job] = []
        after: UUID | None = None
        for _ in range(LOOKS_FOR_EXAMPLES):
            chosen = await self._choices.jobs_in(choice, up_to=plan.up_to, after=after, limit=EXAMPLES_KEPT)
            found += [job for job in chosen.jobs if rules.is_in_plan(job, plan)]
            after = chosen.next_after
            if after is None or len(found) >= EXAMPLES_KEPT:
                break
        return found[:EXAMPLES_KEPT]

    async def _movable(self, wish: Wish, plan: BulkPlan, tenant: str) -> tuple[int, Sequence[Job]]:
        """Return how many of the ids name jobs that would move, and some of these jobs."""
        order = BulkOrder(tenant, wish.verb, Actor(""), plan.planned_at, id_count=1, resolution=wish.resolution)
        action = BulkAction(NO_JOB, order, plan)
        count, examples = 0, list[Job]()
        for start in range(0, len(wish.ids), IDS_AT_ONCE):
            page = wish.ids[start : start + IDS_AT_ONCE]
            jobs = await self._choices.jobs_of(tenant, page)
            for job in (jobs[job_id] for job_id in page if job_id in jobs):
                if isinstance(rules.decide(action, job, at=plan.planned_at, acts=self._acts), Transition):
                    count += 1
                    if len(examples) < EXAMPLES_KEPT:
                        examples.append(job)
        return count, examples


def _planned_for(wish: Wish, tenant: str) -> PlannedFor:
    return PlannedFor(tenant, wish.verb, wish.ids if wish.filter is None else wish.filter)


def _too_many(added: Added) -> ProblemError:
    of_tenant = added is Added.TENANT_FULL
    most = MOST_ACTIVE_OF_TENANT if of_tenant else MOST_ACTIVE
    whose = "of this tenant" if of_tenant else "of all tenants"
    detail = f"{most} bulk actions {whose} are unfinished, which is the maximum: wait until one ends, or abort one"
    return ProblemError(problem("too-many-bulk-actions", detail))
