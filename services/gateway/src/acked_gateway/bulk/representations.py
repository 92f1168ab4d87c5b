"""The fields of bulk actions in responses. Pure."""

from collections.abc import Sequence
from typing import Any

from acked_common.model.bulk_actions import BulkAction, BulkVerb, JobChoice
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle_waits import NO_SIGNAL
from acked_common.model.principal import Actor
from acked_common.store.records import Job
from acked_gateway.bulk.operations import BulkActionStatus, BulkBy, BulkExample, BulkPreview
from acked_gateway.bulk.orders import Preview
from acked_gateway.bulk.rules import WHY
from acked_gateway.jobs.filters import OF_SIGNALS, SLEEP, WAITING_FOR

MAX_MESSAGE_CHARS = 1000
_FILTER_NAMES = {"error_group": "error.group", "since_at": "since", "until_at": "until"}


def preview_fields(verb: BulkVerb, preview: Preview) -> BulkPreview:
    """Return the response to a dry run."""
    return {
        "action": verb,
        "count": preview.count,
        "count_is_exact": preview.plan.is_exact,
        "examples": _examples(preview.examples),
        "planned_at": rfc3339(preview.plan.planned_at),
        "plan": preview.token,
    }


def _examples(jobs: Sequence[Job]) -> list[BulkExample]:
    return [
        {
            "id": str(job.id),
            "kind": job.kind,
            "state": job.state,
            "error": None
            if job.error is None
            else {"type": job.error["type"], "message": job.error["message"][:MAX_MESSAGE_CHARS]},
        }
        for job in jobs
    ]


def bulk_fields(action: BulkAction) -> BulkActionStatus:
    """Return the state and progress of an action."""
    order, plan, tally = action.order, action.plan, action.tally
    fields: BulkActionStatus = {
        "id": str(action.id),
        "action": order.verb,
        "state": action.state,
        "by": _by(order.by),
        "asked_at": rfc3339(order.asked_at),
        "planned_at": rfc3339(plan.planned_at),
        "rate_per_s": order.rate_per_s,
        "matched": plan.matched,
        "matched_is_exact": plan.is_exact,
        "done": tally.done,
        "refused": dict(tally.refused),
        "refused_examples": [
            {"id": str(one.id), "reason": one.why, "detail": WHY.get(one.why, one.why)} for one in tally.examples
        ],
        "progress": action.progress,
        "started_at": None if action.started_at is None else rfc3339(action.started_at),
        "ended_at": None if action.ended_at is None else rfc3339(action.ended_at),
    }
    if order.choice is not None:
        fields["filter"] = _filter(order.choice)
    else:
        fields["ids"] = order.id_count
    if order.reason is not None:
        fields["reason"] = order.reason
    if action.abort is not None:
        fields["abort_requested_at"] = rfc3339(action.abort.at)
        fields["abort_requested_by"] = _by(action.abort.by)
    if action.failure is not None:
        fields["failure"] = action.failure
    return fields


def _by(actor: Actor) -> BulkBy:
    return {"client": actor.client, "token_id": actor.token_id}


def _filter(choice: JobChoice) -> dict[str, Any]:
    given: dict[str, Any] = {"state": [state.value for state in choice.states]}
    for name in ("kind", "batch", "tag", "error_group"):
        if (value := getattr(choice, name)) is not None:
            given[_FILTER_NAMES.get(name, name)] = value
    if choice.waiting_for is not None:
        is_any = choice.waiting_for == NO_SIGNAL
        given[WAITING_FOR] = SLEEP if is_any else f"{OF_SIGNALS}{choice.waiting_for}"
    for name in ("since_at", "until_at"):
        if (at := getattr(choice, name)) is not None:
            given[_FILTER_NAMES[name]] = rfc3339(at)
    return given
