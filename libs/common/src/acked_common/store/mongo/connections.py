"""The connections of one process to MongoDB, and the collections with the concerns of their calls.

Writes wait for the journals of a majority. Reads are from the primary with majority read concern, so that nothing is
returned that could be rolled back.
"""

from typing import Any

from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from acked_common.store.mongo import schema
from acked_common.store.mongo.changes import watching_options
from acked_common.store.mongo.driver import close_clients, open_client

IDLE_CONNECTION_S = 60.0
"""How long an unused connection stays open after a burst."""


class Connections:
    """Three clients and the collections of one database. `quick` collections wait for one member only, so their writes
    may be lost."""

    def __init__(
        self,
        url: str,
        database: str,
        *,
        app_name: str,
        timeout_s: float,
        pool_size: int = 32,
        idle_connection_s: float = IDLE_CONNECTION_S,
        claims_tenants: bool = False,
    ) -> None:
        """Connect lazily: a service starts without a server. `timeout_s` bounds each call, retries included. A claim
        reads the tenants of its jobs only with `claims_tenants`."""
        options: dict[str, Any] = {
            "appname": app_name,
            "tz_aware": True,
            "uuidRepresentation": "standard",
            "timeoutMS": int(timeout_s * 1000),
            # The driver checks for servers every half second, so it may exceed the timeout by that much.
            "serverSelectionTimeoutMS": int(timeout_s * 600),
            "connectTimeoutMS": int(timeout_s * 1000),
            "heartbeatFrequencyMS": 2000,
            "maxPoolSize": pool_size,
            "minPoolSize": 2,
            "maxIdleTimeMS": int(idle_connection_s * 1000),
            "retryWrites": True,
        }
        self.timeout_s = timeout_s
        self.claims_tenants = claims_tenants
        self._watching = open_client(url, watching_options(options))
        self._client = open_client(url, options)
        # Renewals have separate connections, so that a queue of slow writes can't cost a lease.
        self._renewing = open_client(url, {**options, "maxPoolSize": 4, "minPoolSize": 1})
        majority: dict[str, Any] = {
            "write_concern": WriteConcern(w="majority", j=True),
            "read_concern": ReadConcern("majority"),
            "read_preference": ReadPreference.PRIMARY,
        }
        quick = WriteConcern(w=1)
        self.database = self._client.get_database(database, **majority)
        self.admin = self._client["admin"]
        self.jobs = self.database[schema.JOBS]
        self.snapshot_jobs = self.jobs.with_options(read_concern=ReadConcern("snapshot"))
        self.quick_jobs = self.jobs.with_options(write_concern=quick)
        self.kinds = self.database[schema.KINDS]
        self.census = self.database[schema.CENSUS]
        self.error_groups = self.database[schema.ERROR_GROUPS]
        self.load_tests = self.database[schema.LOAD_TESTS]
        self.meta = self.database[schema.META]
        self.minutes = self.database[schema.MINUTES]
        self.tokens = self.database[schema.TOKENS]
        self.audit = self.database[schema.AUDIT]
        self.workers = self.database[schema.WORKERS]
        self.bulk_actions = self.database[schema.BULK_ACTIONS]
        self.ledgers = self.database[schema.LEDGERS]
        self.ledger_parts = self.database[schema.LEDGER_PARTS]
        self.schedules = self.database[schema.SCHEDULES]
        self.callback_secrets = self.database[schema.CALLBACK_SECRETS]
        self.callback_endpoints = self.database[schema.CALLBACK_ENDPOINTS]
        self.quick_lanes = self.database[schema.LANES].with_options(write_concern=quick)
        self.quick_turns = self.database[schema.TURNS].with_options(write_concern=quick)
        renewing = self._renewing.get_database(database, **majority)
        self.renewed_jobs = renewing[schema.JOBS]
        self.quick_renewed_jobs = self.renewed_jobs.with_options(write_concern=quick)
        self.quick_workers = renewing[schema.WORKERS].with_options(write_concern=quick)
        self.watched_database = self._watching[database]
        """The client of the change stream, without a time limit, because its calls wait for changes."""

    async def close(self) -> None:
        """Close all connections."""
        await close_clients(self._client, self._renewing, self._watching)


class Verbs:
    """A role of `ports` on MongoDB; each role is a subclass in a module of its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
