"""Decide what a bulk action does to one job, from the action and the job alone. Pure.

Every owner of the action reaches the same decision, so two simultaneous owners move no job twice.
"""

from datetime import datetime
from enum import Enum

from acked_common.model.bulk_actions import MOVES, BulkAction, BulkPlan, BulkVerb
from acked_common.model.lifecycle import Reason, Transition
from acked_common.model.principal import Actor
from acked_common.store.records import Job
from acked_gateway.jobs.acts import ActRefused, Acts, Resolution

NOT_FOUND = "not-found"
MOVED = "moved"
WRONG_STATE = "wrong-state"
CANCELLING = "cancelling"
ERASED = "erased"
EDITED = "edited"
RESOLVED = "resolved"
REFUSED_BY_STORE = "refused"

WHY = {
    NOT_FOUND: "the tenant has no such job",
    MOVED: "the job moved after the plan was made",
    WRONG_STATE: "the action can't be applied to a job in this state",
    CANCELLING: "the cancel of the job was requested before",
    ERASED: "an operator has erased the job",
    EDITED: "an operator has replaced this job by another one; retry it by its id",
    RESOLVED: "an operator has resolved the job; retry it by its id",
    REFUSED_BY_STORE: "MongoDB rejected the write",
}
"""Why a job is not moved, by the reason under which it is counted."""


class Settled(Enum):
    """A decision not to move a job."""

    DONE = "done"
    """The action has moved the job already."""


Decision = Transition | Settled | str
"""A move, nothing left to do, or a reason in `WHY`."""


def via(action: BulkAction) -> str:
    """Return the text by which histories name the action."""
    return f"bulk:{action.id}"


def actor_of(action: BulkAction) -> Actor:
    """Return the actor of the moves, for the histories of the jobs."""
    by = action.order.by
    return Actor(by.client, by.token_id, via(action))


def is_in_plan(job: Job, plan: BulkPlan) -> bool:
    """Return whether the job existed when the plan was made and, if it has ended, had ended by then."""
    has_ended_since = job.finished_at is not None and job.finished_at > plan.planned_at
    return job.accepted_at <= plan.planned_at and not has_ended_since


def was_moved_by(job: Job, action: BulkAction) -> bool:
    """Return whether the action has moved the job, whatever happened to the job afterwards."""
    name = via(action)
    return any(entry.by is not None and entry.by.via == name for entry in job.history)


def decide(action: BulkAction, job: Job | None, *, at: datetime, acts: Acts) -> Decision:
    """Decide about one job of a page, as it was read."""
    if job is None:
        return NOT_FOUND
    if was_moved_by(job, action):
        return Settled.DONE
    refusal = _refusal(action, job)
    if refusal is not None:
        return refusal
    try:
        transition = _transition(action, job, at, acts)
    except ActRefused:
        return WRONG_STATE if job.erased_at is None else ERASED
    # None: the act would not change the job.
    return transition or WRONG_STATE


def _refusal(action: BulkAction, job: Job) -> str | None:
    verb, choice = action.order.verb, action.order.choice
    if job.state not in MOVES[verb]:
        return WRONG_STATE
    if choice is not None and job.state not in choice.states:
        return MOVED
    if not is_in_plan(job, action.plan):
        return MOVED
    if verb is BulkVerb.CANCEL and job.cancel_requested:
        return CANCELLING
    if verb is BulkVerb.ERASE and job.erased_at is not None and job.note is None:
        return ERASED
    return _NO_RETRY.get(job.reason) if verb is BulkVerb.RETRY and choice is not None else None


_NO_RETRY = {Reason.EDITED.value: EDITED, Reason.RESOLVED.value: RESOLVED}
"""Why a retry by filter skips a job: an operator has attended to it."""


def _transition(action: BulkAction, job: Job, at: datetime, acts: Acts) -> Transition | None:
    by = actor_of(action)
    match action.order.verb:
        case BulkVerb.RETRY:
            return acts.retry(job, at=at, by=by)
        case BulkVerb.CANCEL:
            return acts.cancel(job, at=at, by=by)
        case BulkVerb.RUN_NOW:
            return acts.run_now(job, at=at, by=by)
        case BulkVerb.ERASE:
            return acts.erase(job, at=at, by=by)
        case BulkVerb.RESOLVE:
            given = action.order.resolution
            if given is None:
                raise ValueError("a resolve without a resolution")
            return acts.resolve(job, Resolution(given.state, given.result, given.note), at=at, by=by)
