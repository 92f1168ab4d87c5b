"""The aggregations of a census, and its documents. Pure.

Live jobs are counted from the keys of the sweeper's index, and failed ones from those of the group index. Only failed
jobs without a group need their documents, because their keys do not show whether an operator has attended to them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from acked_common.model.attempts import UNGROUPED, kept_error
from acked_common.model.lifecycle import State
from acked_common.store.census import (
    CensusSummary,
    Example,
    GroupCount,
    GroupNotes,
    GroupTally,
    KindCount,
    KnownGroup,
    LiveCount,
    Newest,
    TenantCensus,
    hour_before,
)
from acked_common.store.mongo.documents import ATTENDED_TO, ERROR_GROUP, Document
from acked_common.store.mongo.field_names import NEXT_CHECK_AT

SUMMARY = "summary"
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD_OF_ALL = ""
"""Sorts before every tenant and every group."""
_TENANT_PREFIX = "tenant/"
_BEHIND_TENANTS = "tenant0"
"""Sorts directly after all ids with the prefix."""
GROUP_INDEX = "failed_group"
FINISHED_INDEX = "failed_group_finished"


def live_pipeline(state: State, at_most: int) -> list[Document]:
    """Return the count of live jobs in one state by kind. As in `moves.waiting_pipeline`, a bound on the next check
    keeps the count on index keys."""
    return [
        {"$match": {"state": state.value, NEXT_CHECK_AT: {"$gte": _BEFORE_ALL}}},
        {"$limit": at_most},
        {"$group": {"_id": "$kind", "count": {"$sum": 1}, "oldest": {"$min": "$queued_at"}}},
    ]


def live_count(state: State, document: Mapping[str, Any]) -> LiveCount:
    """Read one result of `live_pipeline`."""
    return LiveCount(state, document["_id"], document["count"], document["oldest"])


def tenants_pipeline(at_most: int) -> list[Document]:
    """Return the aggregation of tenants with failed jobs, which reads one key of each."""
    return [
        # Without a bound on the tenant, MongoDB scans all keys and reads the documents.
        {"$match": {"tenant": {"$gt": _AHEAD_OF_ALL}, "state": State.FAILED.value}},
        {"$sort": {"tenant": 1}},
        {"$group": {"_id": "$tenant"}},
        {"$limit": at_most},
    ]


def newest_pipeline(tenant: str, at_most: int) -> list[Document]:
    """Return the aggregation of a tenant's groups with their newest jobs, which reads one key of each."""
    return [
        {"$match": _of_groups(tenant)},
        {"$sort": {"tenant": 1, "state": 1, ERROR_GROUP: 1, "finished_at": -1, "_id": -1}},
        {"$group": {"_id": f"${ERROR_GROUP}", "newest": {"$first": "$_id"}, "at": {"$first": "$finished_at"}}},
        {"$limit": at_most},
    ]


def newest_from(document: Mapping[str, Any]) -> Newest:
    """Read one result of `newest_pipeline`."""
    return Newest(document["_id"], document["newest"], document["at"])


def tally_pipeline(tenant: str, group: str | None, at: datetime, at_most: int) -> list[Document]:
    """Return the counts of failed jobs by group and minute, of one group (newest first) or of all groups of a
    tenant."""
    match = _of_groups(tenant)
    if group is not None:
        match[ERROR_GROUP] = group
    return [
        {"$match": match},
        {"$sort": {"tenant": 1, "state": 1, ERROR_GROUP: 1, "finished_at": -1}},
        {"$limit": at_most},
        {"$group": {"_id": {"group": f"${ERROR_GROUP}", "minute": _minute(at)}, **_COUNTS}},
    ]


def ungrouped_pipeline(tenant: str, at: datetime, at_most: int) -> list[Document]:
    """Return the counts of failed jobs without a group that need attention, by kind and minute, newest first."""
    return [
        {"$match": {"tenant": tenant, "state": State.FAILED.value, ERROR_GROUP: None}},
        {"$sort": {"tenant": 1, "state": 1, ERROR_GROUP: 1, "finished_at": -1, "_id": -1}},
        {"$limit": at_most},
        {"$project": {"kind": 1, "reason": 1, "finished_at": 1}},
        {"$match": {"reason": {"$nin": list(ATTENDED_TO)}}},
        {"$group": {"_id": {"kind": "$kind", "minute": _minute(at)}, "newest": {"$first": "$_id"}, **_COUNTS}},
    ]


_COUNTS: Document = {
    "count": {"$sum": 1},
    "first_at": {"$min": "$finished_at"},
    "last_at": {"$max": "$finished_at"},
}


def _of_groups(tenant: str) -> Document:
    return {"tenant": tenant, "state": State.FAILED.value, ERROR_GROUP: {"$gt": _AHEAD_OF_ALL}}


def _minute(at: datetime) -> Document:
    of_last_hour: Document = {"$gte": ["$finished_at", hour_before(at)]}
    return {"$cond": [of_last_hour, {"$dateTrunc": {"date": "$finished_at", "unit": "minute"}}, None]}


def tally_from(document: Mapping[str, Any]) -> GroupTally:
    """Read one result of `tally_pipeline` or `ungrouped_pipeline`."""
    key = document["_id"]
    group, kind = key.get("group", UNGROUPED), key.get("kind")
    return GroupTally(group, kind, key["minute"], document["count"], document["first_at"], document["last_at"])


EXAMPLE_FIELDS = ("kind", "error.type", "error.message", "error.culprit")


def example_from(document: Mapping[str, Any]) -> Example:
    """Return the error of a failed job; its message has the length limit of an attempt."""
    error = kept_error(document.get("error") or {})
    return Example(document["kind"], error.get("type", ""), error.get("message", ""), error.get("culprit"))


def tenant_id(tenant: str) -> str:
    """Return the id of the document with a tenant's groups."""
    return _TENANT_PREFIX + tenant


def is_of_tenant() -> Document:
    """Return the criteria of the documents of all tenants."""
    return {"_id": {"$gte": _TENANT_PREFIX, "$lt": _BEHIND_TENANTS}}


def tenant_from_id(text: str) -> str:
    """Return the tenant of `tenant_id`."""
    return text.removeprefix(_TENANT_PREFIX)


def tenant_document(census: TenantCensus) -> Document:
    """Return the document of one tenant, without its id."""
    return {
        "counted_at": census.counted_at,
        "is_complete": census.is_complete,
        "groups": [_group_document(group) for group in census.groups],
    }


def _group_document(group: GroupCount) -> Document:
    return {
        "group": group.group,
        "count": group.count,
        "is_exact": group.is_exact,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "newest": group.newest,
        # Most minutes are empty.
        "minutes": [[minute, count] for minute, count in enumerate(group.per_minute) if count],
        "kinds": [{"kind": kind, "count": count} for kind, count in group.kinds.items()],
    }


def group_from(document: Mapping[str, Any], minutes: int) -> GroupCount:
    """One group of a tenant's document."""
    per_minute = [0] * minutes
    for minute, count in document["minutes"]:
        per_minute[minute] = count
    return GroupCount(
        group=document["group"],
        count=document["count"],
        is_exact=document["is_exact"],
        first_at=document["first_at"],
        last_at=document["last_at"],
        newest=document["newest"],
        per_minute=tuple(per_minute),
        kinds={entry["kind"]: entry["count"] for entry in document["kinds"]},
    )


def summary_document(summary: CensusSummary) -> Document:
    """Return the document of the summary, without its id."""
    return {
        "counted_at": summary.counted_at,
        "took_s": summary.took_s,
        "inexact": sorted(state.value for state in summary.inexact),
        "kinds": [
            {
                "kind": kind.kind,
                "states": {state.value: count for state, count in kind.states.items()},
                "oldest_queued_at": kind.oldest_queued_at,
                "attention": kind.attention,
            }
            for kind in summary.kinds
        ],
    }


def summary_from(document: Mapping[str, Any]) -> CensusSummary:
    """Return the summary from its document."""
    return CensusSummary(
        counted_at=document["counted_at"],
        took_s=document["took_s"],
        kinds=[
            KindCount(
                kind=kind["kind"],
                states={State(state): count for state, count in kind["states"].items()},
                oldest_queued_at=kind["oldest_queued_at"],
                attention=kind["attention"],
            )
            for kind in document["kinds"]
        ],
        inexact=frozenset(State(state) for state in document["inexact"]),
    )


def known_id(tenant: str, group: str) -> str:
    """Return the id of a group's record. No tenant's name has a slash."""
    return f"{tenant}/{group}"


def known_update(tenant: str, count: GroupCount, example: Example) -> Document:
    """Return the upsert of a group's record by its newest job."""
    fields = {"tenant": tenant, "group": count.group, "kind": example.kind, "type": example.type}
    return {
        "$set": {**fields, "message": example.message, "culprit": example.culprit, "newest": count.newest},
        "$min": {"first_at": count.first_at},
        "$unset": {"forget_at": ""},
    }


def known_from(document: Mapping[str, Any]) -> KnownGroup:
    """Read a group's record from its document."""
    get = document.get
    return KnownGroup(
        group=document["group"],
        first_at=document["first_at"],
        example=Example(document["kind"], document["type"], document["message"], document["culprit"]),
        newest=document["newest"],
        notes=GroupNotes(get("comment"), get("taken_by"), get("taken_at"), get("snoozed_until")),
    )


def forgetting(at: datetime, after_s: float) -> Document:
    """Return the update of a group without jobs."""
    return {"$set": {"forget_at": at + timedelta(seconds=after_s)}}


HAS_NOTES: Document = {"$or": [{name: {"$exists": True}} for name in ("comment", "taken_by", "snoozed_until")]}
