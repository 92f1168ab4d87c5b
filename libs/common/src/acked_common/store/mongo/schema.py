"""The schema that `init` creates: indexes, the validator, the schema version. Pure data."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from acked_common.model.attempts import ATTEMPTS_KEPT, TRACEBACKS_KEPT
from acked_common.model.audit import KEPT_DAYS, TARGETS
from acked_common.model.ledger import MAX_BYTES, MAX_ENTRIES, MAX_UNREAD, READ_IDS_KEPT
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
LOAD_TESTS = "load_tests"
LEDGERS = "ledgers"
LEDGER_PARTS = "ledger_parts"
SCHEDULES = "schedules"
CALLBACK_SECRETS = "callback_secrets"
CALLBACK_ENDPOINTS = "callback_endpoints"

LIVE_INDEX = "live_kinds"
"""The sweeper's order. Counts of live jobs by kind read only its keys."""

PARKED_INDEX = "parked"
"""Parked jobs of each tenant, in the order in which their waits end."""
PENDING_SIGNALS = "pending_signals"
"""Ledgers with signals that their senders have not announced to the job, longest pending first."""
LEDGER_LOOKS = "looks"
"""The order in which ledgers are due for a look at their jobs."""

PLACES_INDEX = "places"
TENANT_PLACES_INDEX = "tenant_places"
"""The places of running jobs of limited kinds (see `limits`). That they are unique enforces the limits."""
HELD_INDEX = "held"
"""Queued jobs that wait for a place, by tenant, longest waiting first."""

CALLBACK_OPEN_INDEX = "callback_open"
"""Ended jobs with a callback for whose end intake has inserted no delivery yet, by tenant."""
CALLBACK_ENDS_INDEX = "callback_ends"
"""Jobs with earlier ends without a delivery, and with deliveries to repeat, by tenant."""
CALLBACK_ENDS: dict[str, Any] = {"callback_ends": {"$gt": {}}}
"""The filter of this index: the field is not empty."""

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
    # Counts of a batch read only its keys, and lists of a batch read only the jobs that they return.
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
    # Only parked jobs are in this index, so it costs other jobs nothing.
    IndexModel(
        [("tenant", ASCENDING), ("state", ASCENDING), (field_names.NEXT_CHECK_AT, ASCENDING), ("_id", ASCENDING)],
        name=PARKED_INDEX,
        partialFilterExpression={"state": State.WAITING.value},
    ),
    # Lists of parked jobs by what they wait for, newest first: one key for each signal that wakes a job.
    IndexModel(
        [("tenant", ASCENDING), ("state", ASCENDING), ("waits.signals", ASCENDING), ("_id", DESCENDING)],
        name=field_names.WAITING_INDEX,
        partialFilterExpression={"state": State.WAITING.value},
    ),
    # Lists of one error group, newest first, and counts by minute. Only failed jobs are in these indexes. Keys contain
    # the state, although it is constant: otherwise MongoDB reads the documents to check it.
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
    # Only jobs of limited kinds are in these indexes. A place is part of the owner, which every end of an attempt
    # removes. So no write of another job mentions it.
    IndexModel(
        [("kind", ASCENDING), (field_names.PLACE, ASCENDING)],
        name=PLACES_INDEX,
        unique=True,
        partialFilterExpression={field_names.PLACE: {"$gte": 0}},
    ),
    IndexModel(
        [("kind", ASCENDING), ("tenant", ASCENDING), (field_names.TENANT_PLACE, ASCENDING)],
        name=TENANT_PLACES_INDEX,
        unique=True,
        partialFilterExpression={field_names.TENANT_PLACE: {"$gte": 0}},
    ),
    # Keys contain the mark, although it is constant, so that tenants are found without reading jobs.
    IndexModel(
        [("reserved_by", ASCENDING), ("kind", ASCENDING), ("tenant", ASCENDING), ("queued_at", ASCENDING)],
        name=HELD_INDEX,
        partialFilterExpression={"reserved_by": field_names.HELD},
    ),
    # Only jobs with a callback are in these indexes, for the moment between their end and its delivery.
    IndexModel(
        [("tenant", ASCENDING), (field_names.DELETE_AT, ASCENDING)],
        name=CALLBACK_OPEN_INDEX,
        partialFilterExpression={"callback_open": True, field_names.DELETE_AT: {"$exists": True}},
    ),
    IndexModel([("tenant", ASCENDING)], name=CALLBACK_ENDS_INDEX, partialFilterExpression=CALLBACK_ENDS),
]

FORMER_JOB_INDEXES = frozenset({"batch", "kind", "tags", "failed_newest", "tenant_batch", "live"})
"""Indexes of earlier schemas. `init` drops them once it finds its own schema, because services of the previous version
still name them during a rolling restart."""

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
    """Return the name of the audit's index for entries of a tenant, with these filters."""
    return "_".join(("newest", *(["client"] if has_client else []), *(["action"] if has_action else [])))


def audit_target_index(name: str) -> str:
    """Return the name of the audit's index for entries of a tenant on one object, by the member of the target."""
    return f"newest_of_{name}"


AUDIT_INDEXES = [
    *(
        IndexModel(
            [("tenant", ASCENDING), *((name, ASCENDING) for name in filters), ("_id", DESCENDING)],
            name=audit_index(has_client="client" in filters, has_action="action" in filters),
        )
        for filters in _AUDIT_FILTERS
    ),
    *(
        IndexModel(
            [("tenant", ASCENDING), (f"target.{name}", ASCENDING), ("_id", DESCENDING)],
            name=audit_target_index(name),
            partialFilterExpression={f"target.{name}": {"$exists": True}},
        )
        for name in TARGETS
    ),
    IndexModel([("at", ASCENDING)], name="kept", expireAfterSeconds=KEPT_DAYS * 86_400),
]
"""Acts are rare, so an index for each list is cheap, and no page scans other entries."""
CENSUS_INDEXES = [IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0)]
LOAD_TEST_INDEXES = [IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0)]
ERROR_GROUP_INDEXES = [IndexModel([("forget_at", ASCENDING)], name="forgotten", expireAfterSeconds=0)]

BULK_ACTION_INDEXES = [
    IndexModel([("tenant", ASCENDING), ("_id", DESCENDING)], name="tenant_newest"),
    # Only active actions, which are few; the search for one without an owner reads these keys.
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

_LEDGER_RETENTION = IndexModel(
    [(field_names.DELETE_AT, ASCENDING)],
    name="retention",
    expireAfterSeconds=0,
    partialFilterExpression={field_names.DELETE_AT: {"$exists": True}},
)
LEDGER_INDEXES = [
    _LEDGER_RETENTION,
    IndexModel([("look_at", ASCENDING)], name=LEDGER_LOOKS, partialFilterExpression={"look_at": {"$exists": True}}),
    IndexModel([("pend_at", ASCENDING)], name=PENDING_SIGNALS, partialFilterExpression={"pend_at": {"$exists": True}}),
]
LEDGER_PART_INDEXES = [_LEDGER_RETENTION]
"""The ids of parts begin with the id of their job, so no index is needed to find them."""

SCHEDULE_INDEXES = [
    IndexModel([("look_at", ASCENDING)], name="due", partialFilterExpression={"look_at": {"$exists": True}})
]
"""Lists of a tenant read a range of ids."""

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

LEDGER_VALIDATOR: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "t", "ed", "r", "a", "c", "y"],
        "properties": {
            "_id": {"bsonType": "binData"},
            "t": {"bsonType": "string"},
            "ed": {"bsonType": ["int", "long"], "minimum": 1},
            "r": _COUNTER,
            "a": _COUNTER,
            "by": {"bsonType": "string"},
            "c": {"bsonType": ["int", "long"], "minimum": 0, "maximum": MAX_ENTRIES},
            "y": {"bsonType": ["int", "long"], "minimum": 0, "maximum": MAX_BYTES},
            "e": {"bsonType": "object"},
            "q": _COUNTER,
            "in": {"bsonType": "array", "maxItems": MAX_UNREAD},
            "ids": {"bsonType": "array", "maxItems": READ_IDS_KEPT},
            "look_at": {"bsonType": "date"},
            field_names.DELETE_AT: {"bsonType": "date"},
        },
    },
}
