"""What `init` makes of the database: indexes, the validator that refuses nonsense, the schema version. Pure data."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from acked_common.model.attempts import ATTEMPTS_KEPT, TRACEBACKS_KEPT
from acked_common.model.audit import KEPT_DAYS
from acked_common.model.lifecycle import HISTORY_KEPT, LIVE, TERMINAL, State
from acked_common.store.mongo import field_names

SCHEMA_VERSION = 3

JOBS = "jobs"
KINDS = "kinds"
WORKERS = "workers"
LANES = "lanes"
META = "meta"
TURNS = "turns"
TOKENS = "tokens"
AUDIT = "audit"
BULK_ACTIONS = "bulk_actions"
ERROR_GROUPS = "error_groups"
MINUTES = "minutes"
CENSUS = "census"

LIVE_INDEX = "live_kinds"
"""The sweeper's order. What waits and runs of each kind is counted from its keys alone."""

WORKER_DOCUMENT_TTL_S = 120

JOB_INDEXES = [
    IndexModel(
        [
            ("state", ASCENDING),
            (field_names.NEXT_CHECK_AT, ASCENDING),
            ("_id", ASCENDING),
            ("kind", ASCENDING),
            ("queued_at", ASCENDING),
        ],
        name=LIVE_INDEX,
        partialFilterExpression={field_names.NEXT_CHECK_AT: {"$exists": True}},
    ),
    # Counts of a batch are taken from its keys alone, and lists of it find what they show in order.
    IndexModel(
        [
            ("tenant", ASCENDING),
            ("batch", ASCENDING),
            ("state", ASCENDING),
            ("_id", DESCENDING),
            ("accepted_at", ASCENDING),
            ("finished_at", ASCENDING),
        ],
        name="tenant_batch_state",
        partialFilterExpression={"batch": {"$exists": True}},
    ),
    IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)], name="tenant_newest"),
    IndexModel([("tenant", ASCENDING), ("kind", ASCENDING), ("_id", DESCENDING)], name="tenant_kind"),
    IndexModel(
        [("tenant", ASCENDING), ("tags", ASCENDING), ("_id", DESCENDING)],
        name="tenant_tags",
        partialFilterExpression={"tags": {"$exists": True}},
    ),
    IndexModel(
        [(field_names.DELETE_AT, ASCENDING)],
        name="retention",
        expireAfterSeconds=0,
        partialFilterExpression={field_names.DELETE_AT: {"$exists": True}},
    ),
    IndexModel(
        [("tenant", ASCENDING), ("key", ASCENDING)],
        name="idempotency_key",
        unique=True,
        partialFilterExpression={"key": {"$exists": True}},
    ),
    IndexModel(
        [("tenant", ASCENDING), ("state", ASCENDING), ("_id", DESCENDING)],
        name="tenant_failed",
        partialFilterExpression={"state": State.FAILED.value},
    ),
    # Lists of one error group, newest first; and when its jobs failed. Jobs that do not fail are in neither. The state
    # is a part of the keys, although it is always the same: else MongoDB reads the documents to see that it is.
    IndexModel(
        [("tenant", ASCENDING), ("state", ASCENDING), ("error.group", ASCENDING), ("_id", DESCENDING)],
        name="failed_group",
        partialFilterExpression={"state": State.FAILED.value},
    ),
    IndexModel(
        [
            ("tenant", ASCENDING),
            ("state", ASCENDING),
            ("error.group", ASCENDING),
            ("finished_at", DESCENDING),
            ("_id", DESCENDING),
        ],
        name="failed_group_finished",
        partialFilterExpression={"state": State.FAILED.value},
    ),
]

FORMER_JOB_INDEXES = frozenset({"batch", "kind", "tags", "failed_newest", "tenant_batch", "live"})
"""Those of earlier schemas. `init` drops them once it finds its own schema there: while services are replaced, those of
the version before still name them."""

WORKER_INDEXES = [IndexModel([("seen_at", ASCENDING)], name="gone", expireAfterSeconds=WORKER_DOCUMENT_TTL_S)]

TOKEN_INDEXES = [
    IndexModel(
        [("tenant", ASCENDING), ("client", ASCENDING), ("place", ASCENDING)],
        name="active",
        unique=True,
        partialFilterExpression={"place": {"$exists": True}},
    ),
    IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0),
]

_AUDIT_FILTERS = ((), ("action",), ("client",), ("client", "action"))


def audit_index(*, has_client: bool, has_action: bool) -> str:
    """The name of the audit's index for entries of a tenant, with these filters."""
    return "_".join(("newest", *(["client"] if has_client else []), *(["action"] if has_action else [])))


AUDIT_INDEXES = [
    *(
        IndexModel(
            [("tenant", ASCENDING), *((name, ASCENDING) for name in filters), ("_id", DESCENDING)],
            name=audit_index(has_client="client" in filters, has_action="action" in filters),
        )
        for filters in _AUDIT_FILTERS
    ),
    IndexModel([("at", ASCENDING)], name="kept", expireAfterSeconds=KEPT_DAYS * 86_400),
]
"""Acts are few: an index for each combination of filters costs little, and no page looks at other entries."""
CENSUS_INDEXES = [IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0)]
ERROR_GROUP_INDEXES = [IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0)]

BULK_ACTION_INDEXES = [
    IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)], name="tenant_newest"),
    # Active actions alone, which are few: who looks for one that nobody holds reads these keys.
    IndexModel(
        [("place", ASCENDING)], name="active", unique=True, partialFilterExpression={"place": {"$exists": True}}
    ),
    IndexModel(
        [("tenant", ASCENDING), ("tenant_place", ASCENDING)],
        name="active_of_tenant",
        unique=True,
        partialFilterExpression={"tenant_place": {"$exists": True}},
    ),
    IndexModel([(field_names.DELETE_AT, ASCENDING)], name="retention", expireAfterSeconds=0),
]

MINUTE_INDEXES = [
    IndexModel(
        [("tenant", ASCENDING), ("kind", ASCENDING), ("step_s", ASCENDING), ("at", ASCENDING)],
        name="series",
    ),
    IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0),
]

_COUNTER = {"bsonType": ["int", "long"], "minimum": 0}

JOB_VALIDATOR: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": [
            "_id",
            "tenant",
            "kind",
            "payload",
            "accepted_at",
            "first_state",
            "state",
            "reason",
            "rev",
            "run",
            "attempt",
            "failures",
            "history",
        ],
        "properties": {
            "_id": {"bsonType": "binData"},
            "tenant": {"bsonType": "string"},
            "kind": {"bsonType": "string"},
            "payload": {"bsonType": "binData"},
            "accepted_at": {"bsonType": "date"},
            "state": {"enum": [state.value for state in State]},
            "rev": {"bsonType": ["int", "long"], "minimum": 1},
            "run": {"bsonType": ["int", "long"], "minimum": 1},
            "attempt": _COUNTER,
            "failures": _COUNTER,
            "crashes": _COUNTER,
            "history": {"bsonType": "array", "maxItems": HISTORY_KEPT},
            "attempts": {"bsonType": "array", "maxItems": ATTEMPTS_KEPT},
            "tracebacks": {"bsonType": "array", "maxItems": TRACEBACKS_KEPT},
            field_names.NEXT_CHECK_AT: {"bsonType": "date"},
            field_names.DELETE_AT: {"bsonType": "date"},
            "result": {"bsonType": "binData"},
            "key": {"bsonType": "string"},
            "key_fingerprint": {"bsonType": "binData"},
        },
        "dependencies": {"key": ["key_fingerprint"], "key_fingerprint": ["key"]},
    },
    # Live jobs have a next check and no end; ended jobs the reverse; an owner only while running.
    "$or": [
        {
            "state": {"$in": sorted(state.value for state in LIVE)},
            field_names.NEXT_CHECK_AT: {"$exists": True},
            field_names.DELETE_AT: {"$exists": False},
        },
        {
            "state": {"$in": sorted(state.value for state in TERMINAL)},
            field_names.NEXT_CHECK_AT: {"$exists": False},
            field_names.DELETE_AT: {"$exists": True},
            "owner": {"$exists": False},
        },
    ],
}
