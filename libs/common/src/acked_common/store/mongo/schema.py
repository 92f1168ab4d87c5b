"""What `init` makes of the database: indexes, the validator that refuses nonsense, the schema version. Pure data."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from acked_common.model.lifecycle import LIVE, TERMINAL, State
from acked_common.store.mongo import field_names

SCHEMA_VERSION = 2

JOBS = "jobs"
KINDS = "kinds"
WORKERS = "workers"
LANES = "lanes"
META = "meta"
TURNS = "turns"
TOKENS = "tokens"

WORKER_DOCUMENT_TTL_S = 120

JOB_INDEXES = [
    IndexModel(
        [("state", ASCENDING), (field_names.NEXT_CHECK_AT, ASCENDING), ("_id", ASCENDING)],
        name="live",
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
]

FORMER_JOB_INDEXES = frozenset({"batch", "kind", "tags", "failed_newest", "tenant_batch"})
"""Those of schema 1, which did not begin with the tenant, and one without ids; `init` drops them when the others are
there."""

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
            "history": {"bsonType": "array", "maxItems": 49},
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
