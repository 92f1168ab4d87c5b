"""The writes that move jobs and the counts over them, as MongoDB wants them said. Pure."""

from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from pymongo import UpdateMany, UpdateOne

from acked_common.model.attempts import ATTEMPTS_KEPT, TRACEBACKS_KEPT
from acked_common.model.lifecycle import HISTORY_KEPT, LIVE, Move, Seen, State, Transition
from acked_common.model.topics import COUNTED_EXACTLY, Topic
from acked_common.store.mongo.change_events import topic_fields
from acked_common.store.mongo.documents import (
    Document,
    attempt_document,
    counted_document,
    history_document,
    traceback_document,
    transition_fields,
)
from acked_common.store.mongo.field_names import NEXT_CHECK_AT, stored_name
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.schema import LIVE_INDEX
from acked_common.store.records import Reservation, WaitExtension

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
# Every field is compared unless it is named here, so that a new one can't be written for another job. Where `at` means
# something, it is in the transition; `tenant` is counted alone.
_seen_of_any = attrgetter(*(name for name in Seen.__struct_fields__ if name not in ("id", "at", "tenant")))
_MAPPINGS = ("sets", "adds")
_written_besides = attrgetter(*(name for name in Transition.__struct_fields__ if name not in _MAPPINGS))


def move_updates(moves: Sequence[Move]) -> list[UpdateOne | UpdateMany]:
    """The compare-and-sets of moves: one for all jobs that were seen alike and move alike, as most of a batch are that
    was claimed at once and whose handlers return nothing. The driver does not repeat such a one by itself: a break of
    the connection leaves its outcome unknown."""
    first: dict[Hashable, int] = {}
    kinds: dict[int, int] = {}
    alike: dict[Hashable, list[Move]] = {}
    for move in moves:
        seen, kind = move.seen, id(move.transition)
        if kind not in kinds:
            # Most moves share their transition: it is compared once, and then known by its object.
            kinds[kind] = first.setdefault(_likeness(move.transition), kind)
        alike.setdefault((kinds[kind], _seen_of_any(seen)), []).append(move)
    return [_compare_and_set(group) for group in alike.values()]


def _likeness(transition: Transition) -> Hashable:
    """Equal for transitions that write the same."""
    mappings = [tuple(getattr(transition, name).items()) for name in _MAPPINGS]
    likeness = (_written_besides(transition), *mappings)
    try:
        hash(likeness)
    except TypeError:
        # An error is a dictionary, and of its job alone.
        return id(transition)
    return likeness


def _compare_and_set(alike: Sequence[Move]) -> UpdateOne | UpdateMany:
    """The state, rev, attempt and claim that were seen must still stand."""
    seen, transition = alike[0].seen, alike[0].transition
    criteria: Document = {
        "_id": seen.id if len(alike) == 1 else in_ids([move.seen.id for move in alike]),
        "state": seen.state.value,
        "rev": seen.rev,
        "attempt": seen.attempt,
    }
    if seen.nonce is not None:
        criteria["owner.nonce"] = seen.nonce
    if seen.next_check_at is not None:
        criteria[NEXT_CHECK_AT] = seen.next_check_at
    if transition.unless_cancelling:
        criteria["cancel_requested_at"] = {"$exists": False}
    change: Document = {
        "$set": transition_fields(transition),
        "$inc": {"rev": 1, **transition.adds},
        "$push": {"history": {"$each": [history_document(alike[0].history_entry)], "$slice": -HISTORY_KEPT}},
    }
    if (ended := transition.ended) is not None:
        change["$push"]["attempts"] = {"$each": [attempt_document(ended)], "$slice": -ATTEMPTS_KEPT}
        if ended.traceback is not None:
            change["$push"]["tracebacks"] = {"$each": [traceback_document(ended)], "$slice": -TRACEBACKS_KEPT}
    if transition.clears:
        change["$unset"] = dict.fromkeys(map(stored_name, transition.clears), "")
    return UpdateOne(criteria, change) if len(alike) == 1 else UpdateMany(criteria, change)


def reservation_update(reservation: Reservation, nonce: str) -> UpdateOne:
    """One compare-and-set on the next check that was seen."""
    return UpdateOne(
        {"_id": reservation.id, "state": State.QUEUED.value, NEXT_CHECK_AT: reservation.seen_check_at},
        {"$set": {NEXT_CHECK_AT: reservation.next_check_at, "reserved_by": nonce}, "$inc": {"republished": 1}},
    )


def extension_update(extension: WaitExtension) -> UpdateOne:
    """One compare-and-set on the expiry that was seen."""
    wait = extension.wait
    sets: Document = {"expires_at": wait.expires_at}
    if wait.counted is not None:
        sets["counted_pauses"] = counted_document(wait.counted)
    return UpdateOne(
        {"_id": extension.id, "state": State.QUEUED.value, "expires_at": extension.seen_expires_at}, {"$set": sets}
    )


def turn_pipeline(nonce: str, for_s: float) -> list[Document]:
    """Takes a turn that is free or was never taken; changes nothing while somebody has it."""
    # Nothing is after everything: a turn that was never taken is free.
    is_free: Document = {"$lte": ["$free_at", "$$NOW"]}
    taken: Document = {"by": {"$literal": nonce}, "free_at": {"$add": ["$$NOW", int(for_s * 1000)]}}
    return [{"$set": {name: {"$cond": [is_free, value, f"${name}"]} for name, value in taken.items()}}]


def claim_pipeline(transition: Transition, lease_s: float) -> list[Document]:
    """The claim of many jobs in one write; values stand behind `$literal`, so that none is evaluated.

    The lease begins when the claim takes hold, as that of a renewal does: a claim may be under way for an outage. The
    claim itself is no earlier than what queued the job, by the clock of another process.
    """
    at: Document = {"$max": [transition.at, "$queued_at"]}
    attempt: Document = {"$add": ["$attempt", 1]}
    rev: Document = {"$add": ["$rev", 1]}
    entry = {
        "rev": rev,
        "state": transition.to.value,
        "reason": transition.reason.value,
        "attempt": attempt,
        "at": at,
    }
    fields: Document = {name: {"$literal": value} for name, value in transition_fields(transition).items()}
    fields |= {
        "rev": rev,
        "attempt": attempt,
        "started_at": at,
        "history": {"$slice": [{"$concatArrays": ["$history", [entry]]}, -HISTORY_KEPT]},
        NEXT_CHECK_AT: lease_from_now(lease_s),
    }
    return [{"$set": fields}, {"$unset": sorted(map(stored_name, transition.clears))}]


def lease_from_now(lease_s: float) -> Document:
    """When a lease that begins now is over, by MongoDB's clock."""
    return {"$add": ["$$NOW", int(lease_s * 1000)]}


def waiting_pipeline(state: State, at_most: int, *, by_tenant: bool) -> list[Document]:
    """The count of live jobs in one state; each answer has a `count`, its `_id` is the tenant where asked for.

    In all it is counted from the keys of the index `live` alone: a bound for the next check proves what `$exists` would
    need the documents for. Measured with 180,000 jobs on a busy machine: 0.2 s, and 0.7 s with the documents.
    """
    return [
        {"$match": {"state": state.value, NEXT_CHECK_AT: {"$gte": BEFORE_ALL}}},
        {"$limit": at_most},
        {"$group": {"_id": "$tenant" if by_tenant else None, "count": {"$sum": 1}}},
    ]


def listing_criteria(fields: Document) -> Document:
    """The filter of a list. That of a batch names all states: its index then has the order of the ids in each of them,
    and the server merges them."""
    if "batch" in fields and "state" not in fields:
        return {**fields, "state": {"$in": sorted(state.value for state in State)}}
    return fields


def batch_pipeline(tenant: str, batch: str) -> list[Document]:
    """The counts of a batch, from the keys of its index."""
    return [
        {"$match": {"tenant": tenant, "batch": batch}},
        {
            "$group": {
                "_id": "$state",
                "count": {"$sum": 1},
                "first_at": {"$min": "$accepted_at"},
                "last_accepted_at": {"$max": "$accepted_at"},
                "last_finished_at": {"$max": "$finished_at"},
            }
        },
    ]


def counting_pipelines(topic: Topic, at_most: int) -> list[tuple[State | None, list[Document], dict[str, Any]]]:
    """Return the aggregations that count a topic: `(state, pipeline, options)`. Each result has a `count`; without a
    state, it has one group for each state, its `_id`."""
    fields = topic_fields(topic)
    if topic.name in COUNTED_EXACTLY:
        return [(None, [{"$match": fields}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}], {})]
    found: list[tuple[State | None, list[Document], dict[str, Any]]] = []
    for state in sorted(LIVE | {State.FAILED}):
        indexed: Document = {"state": state.value}
        indexed |= {NEXT_CHECK_AT: {"$exists": True}} if state in LIVE else {"tenant": topic.tenant}
        # The limit bounds what is looked at, so no backlog of another kind or tenant makes a count dear.
        pipeline: list[Document] = [{"$match": indexed}, {"$limit": at_most}, {"$match": fields}, {"$count": "count"}]
        found.append((state, pipeline, {"hint": LIVE_INDEX if state in LIVE else "tenant_failed"}))
    return found
