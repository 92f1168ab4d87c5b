"""OWNER of the grants: the least privileges of each service on MongoDB and RabbitMQ. Pure.

Extend them with each new collection, store verb or queue: `tests/integration/test_accounts.py` shows what is missing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from acked_common.broker.rabbitmq.topology import COMMANDS_EXCHANGE, DEAD_QUEUE, lane_queue
from acked_common.store.mongo import schema


class Account(StrEnum):
    """The accounts; each value is the account's name on both servers."""

    INIT = "init"
    INTAKE = "intake"
    GATEWAY = "gateway"
    WORKER = "worker"


WHOLE_DATABASE = ""
"""MongoDB's notation for every collection of the database."""

_FIND = ("find",)
_UPSERT = ("find", "insert", "update")
_APPEND = ("find", "insert")
_READ_BY_ALL = {schema.KINDS: _FIND, schema.LANES: _FIND, schema.META: _FIND, schema.WORKERS: _FIND}
# They verify tokens, which `init`'s account creates, and their sweepers take turns.
_OF_HTTP_SERVICES = {
    schema.TOKENS: _FIND,
    schema.TURNS: _UPSERT,
    schema.CENSUS: _FIND,
    schema.MINUTES: _UPSERT,
}

MONGO: Mapping[Account, Mapping[str, tuple[str, ...]]] = {
    # The only account that creates collections, indexes and validators; it deletes nothing. MongoDB has no denials, so
    # its writes are listed: it may add entries to the audit, but change none.
    Account.INIT: {
        WHOLE_DATABASE: ("createCollection", "createIndex", "listCollections", "listIndexes"),
        **dict.fromkeys((schema.KINDS, schema.META, schema.TOKENS), _UPSERT),
        schema.JOBS: ("collMod", "dropIndex"),
        schema.LEDGERS: ("collMod",),
        schema.AUDIT: _APPEND,
    },
    # The only account that inserts jobs, those of schedules too; its sweeper moves them, and sets the ends of ledgers.
    Account.INTAKE: {
        **_READ_BY_ALL,
        **_OF_HTTP_SERVICES,
        schema.JOBS: ("find", "insert", "update"),
        schema.LEDGERS: ("find", "update"),
        schema.LEDGER_PARTS: ("find", "update"),
        schema.SCHEDULES: ("find", "update"),
        schema.CALLBACK_ENDPOINTS: _FIND,
    },
    # Follows change streams; moves jobs by commands, bulk actions and its sweeper; requests drains; pauses kinds;
    # writes the census and the figures of load tests; adds entries to the audit, but changes none; keeps the ledgers
    # of jobs that it retries, and puts signals into them; defines and deletes schedules; makes callback secrets, and
    # defines callback endpoints.
    Account.GATEWAY: {
        **_READ_BY_ALL,
        **_OF_HTTP_SERVICES,
        schema.JOBS: ("find", "update", "changeStream"),
        schema.WORKERS: ("find", "update"),
        schema.KINDS: ("find", "update"),
        schema.CENSUS: _UPSERT,
        schema.ERROR_GROUPS: _UPSERT,
        schema.BULK_ACTIONS: _UPSERT,
        schema.LOAD_TESTS: _UPSERT,
        schema.LEDGERS: _UPSERT,
        schema.LEDGER_PARTS: _UPSERT,
        schema.CALLBACK_SECRETS: _UPSERT,
        schema.AUDIT: _APPEND,
        schema.SCHEDULES: (*_UPSERT, "remove"),
        schema.CALLBACK_ENDPOINTS: (*_UPSERT, "remove"),
    },
    # Moves jobs; registers kinds; keeps entries in ledgers; signs callbacks and notes how they go; writes watermarks
    # and its presence, which it removes at its end.
    Account.WORKER: {
        **_READ_BY_ALL,
        schema.JOBS: ("find", "update"),
        schema.KINDS: _UPSERT,
        schema.LANES: _UPSERT,
        schema.CALLBACK_SECRETS: _FIND,
        schema.CALLBACK_ENDPOINTS: ("find", "update"),
        schema.LEDGERS: _UPSERT,
        schema.LEDGER_PARTS: _APPEND,
        schema.MINUTES: _UPSERT,
        schema.WORKERS: (*_UPSERT, "remove"),
    },
}
"""Actions by collection. No account has `bypassDocumentValidation`, so the validator applies to all."""


@dataclass(frozen=True, slots=True)
class QueueRights:
    """RabbitMQ permissions: regular expressions over the names of queues and exchanges."""

    configure: str
    write: str
    read: str


_NOTHING = "^$"
# RabbitMQ's own name for the default exchange: bundles are published to it, and a lane's queue dead-letters through it.
_DEFAULT_EXCHANGE = r"amq\.default"
_LANES = re.escape(lane_queue("")) + ".+"
_LANES_AND_DEAD = f"^({_LANES}|{re.escape(DEAD_QUEUE)})$"
# RabbitMQ's generated name of a gateway's exclusive queue.
_COMMANDS = rf"{re.escape(COMMANDS_EXCHANGE)}|amq\.gen-.+"

RABBIT: Mapping[Account, QueueRights] = {
    Account.INIT: QueueRights(_LANES_AND_DEAD, f"^{_DEFAULT_EXCHANGE}$", f"^{_LANES}$"),
    Account.INTAKE: QueueRights(_NOTHING, f"^{_DEFAULT_EXCHANGE}$", _NOTHING),
    Account.GATEWAY: QueueRights(f"^({_COMMANDS})$", f"^({_DEFAULT_EXCHANGE}|{_COMMANDS})$", f"^({_COMMANDS})$"),
    Account.WORKER: QueueRights(_LANES_AND_DEAD, f"^{_DEFAULT_EXCHANGE}$", f"^{_LANES}$"),
}
