"""The documents of bulk actions. Pure: no driver, no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bson.binary import Binary

from acked_common.model.bulk_actions import (
    ENDED,
    KEPT_FOR,
    Abort,
    BulkAction,
    BulkOrder,
    BulkPlan,
    BulkResolution,
    BulkState,
    BulkTally,
    BulkVerb,
    JobChoice,
    JobRefusal,
    Position,
)
from acked_common.model.lifecycle import State
from acked_common.model.principal import Actor
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.field_names import DELETE_AT

PLACES = ("place", "tenant_place")
"""The places of an active action: one of all tenants, and one of its tenant."""
OF_OWNER = ("owner", "lease_until")
_ID_BYTES = 16


def packed(ids: Sequence[UUID]) -> Binary:
    """Many ids as one value: 16 bytes each, sorted."""
    return Binary(b"".join(sorted(one.bytes for one in ids)))


def unpacked(data: bytes) -> list[UUID]:
    """Return the ids of such a value."""
    return [UUID(bytes=bytes(data[start : start + _ID_BYTES])) for start in range(0, len(data), _ID_BYTES)]


def _given(fields: Mapping[str, Any]) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def _actor(actor: Actor) -> Document:
    return {"client": actor.client, "token_id": actor.token_id, "via": actor.via}


def _actor_from(document: Mapping[str, Any]) -> Actor:
    return Actor(document["client"], document["token_id"], document["via"])


def _fields(record: Any) -> Document:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _choice(choice: JobChoice) -> Document:
    return _given({**_fields(choice), "states": [state.value for state in choice.states]})


def _choice_from(document: Mapping[str, Any]) -> JobChoice:
    return JobChoice(**{**document, "states": tuple(State(state) for state in document["states"])})


def _resolution(resolution: BulkResolution) -> Document:
    result = None if resolution.result is None else Binary(resolution.result)
    return _given({"state": resolution.state.value, "result": result, "note": resolution.note})


def _resolution_from(document: Mapping[str, Any]) -> BulkResolution:
    result = document.get("result")
    return BulkResolution(State(document["state"]), None if result is None else bytes(result), document.get("note"))


def order_document(order: BulkOrder) -> Document:
    """Return the fields of the request."""
    fields = {
        **_fields(order),
        "verb": order.verb.value,
        "by": _actor(order.by),
        "choice": None if order.choice is None else _choice(order.choice),
        "resolution": None if order.resolution is None else _resolution(order.resolution),
    }
    del fields["tenant"]
    return _given(fields)


def _order_from(tenant: str, document: Mapping[str, Any]) -> BulkOrder:
    choice, resolution = document.get("choice"), document.get("resolution")
    return BulkOrder(
        tenant=tenant,
        verb=BulkVerb(document["verb"]),
        by=_actor_from(document["by"]),
        asked_at=document["asked_at"],
        choice=None if choice is None else _choice_from(choice),
        id_count=document["id_count"],
        rate_per_s=document.get("rate_per_s"),
        reason=document.get("reason"),
        resolution=None if resolution is None else _resolution_from(resolution),
    )


def new_document(action: BulkAction, ids: Sequence[UUID]) -> Document:
    """Return the document of a new action, without its places."""
    document: Document = {
        "_id": action.id,
        "tenant": action.order.tenant,
        "order": order_document(action.order),
        "plan": _fields(action.plan),
        **standing_fields(action),
    }
    return document | ({"ids": packed(ids)} if ids else {})


def standing_fields(action: BulkAction) -> Document:
    """Return the fields that the owner writes as the action progresses."""
    tally, position = action.tally, action.position
    fields: Document = {
        "state": action.state.value,
        "tally": {
            "done": tally.done,
            # As pairs, so that a reason is never a field name.
            "refused": [[why, count] for why, count in sorted(tally.refused.items())],
            "examples": [[one.id, one.why] for one in tally.examples],
        },
        "position": {"number": position.number, "cursor": position.cursor, "page": list(position.page)},
        "started_at": action.started_at,
        "ended_at": action.ended_at,
        "failure": action.failure,
    }
    return _given(fields)


def save_update(action: BulkAction) -> Document:
    """Return the update of an action's progress. An ended one releases its places and its owner, and expires later."""
    fields = standing_fields(action)
    if action.state not in ENDED or action.ended_at is None:
        return {"$set": fields}
    left = dict.fromkeys((*PLACES, *OF_OWNER, "ids"), "")
    return {"$set": {**fields, DELETE_AT: action.ended_at + KEPT_FOR}, "$unset": left}


def abort_document(abort: Abort) -> Document:
    """Return the fields of an abort: its actor and its instant."""
    return {"by": _actor(abort.by), "at": abort.at}


def action_from(document: Mapping[str, Any]) -> BulkAction:
    """Return an action from its document."""
    tally, position, abort = document["tally"], document["position"], document.get("abort")
    return BulkAction(
        id=document["_id"],
        order=_order_from(document["tenant"], document["order"]),
        plan=BulkPlan(**document["plan"]),
        state=BulkState(document["state"]),
        tally=BulkTally(
            tally["done"],
            dict(tally["refused"]),
            tuple(JobRefusal(job_id, why) for job_id, why in tally["examples"]),
        ),
        position=Position(position["number"], position["cursor"], tuple(position["page"])),
        abort=None if abort is None else Abort(_actor_from(abort["by"]), abort["at"]),
        started_at=document.get("started_at"),
        ended_at=document.get("ended_at"),
        failure=document.get("failure"),
    )
