"""The store on MongoDB: all roles of `ports` over one set of connections."""

from acked_common.store.audit import AuditStore
from acked_common.store.bulk_actions import BulkStore, ChoiceStore
from acked_common.store.callbacks import CallbackSecretStore
from acked_common.store.load_tests import LoadTestStore
from acked_common.store.mongo.administration import AdministrationVerbs
from acked_common.store.mongo.announce import AnnounceVerbs
from acked_common.store.mongo.apply import AttemptVerbs
from acked_common.store.mongo.audit import MongoAudit
from acked_common.store.mongo.batches import BatchVerbs
from acked_common.store.mongo.bulk_actions import MongoBulkActions
from acked_common.store.mongo.bulk_choice import MongoChoices
from acked_common.store.mongo.callback_endpoints import MongoCallbackEndpoints
from acked_common.store.mongo.callbacks import CallbackVerbs, MongoCallbackSecrets
from acked_common.store.mongo.census import CensusVerbs
from acked_common.store.mongo.changes import MongoChanges
from acked_common.store.mongo.claim import ClaimVerbs
from acked_common.store.mongo.connections import IDLE_CONNECTION_S, Connections
from acked_common.store.mongo.counts import CountVerbs
from acked_common.store.mongo.insert import NewJobVerbs
from acked_common.store.mongo.ledger_signals import MongoLedgers
from acked_common.store.mongo.limits import LimitVerbs
from acked_common.store.mongo.load_tests import MongoLoadTests
from acked_common.store.mongo.minutes import MinuteVerbs
from acked_common.store.mongo.parked import ParkedVerbs
from acked_common.store.mongo.pauses import PauseVerbs
from acked_common.store.mongo.queue import QueueVerbs
from acked_common.store.mongo.reads import ReadVerbs
from acked_common.store.mongo.registry import RegistryVerbs
from acked_common.store.mongo.schedules import MongoSchedules
from acked_common.store.mongo.sweeps import SweeperVerbs
from acked_common.store.mongo.tokens import MongoTokens
from acked_common.store.ports import JobChanges
from acked_common.store.tokens import TokenStore


class MongoStore(
    NewJobVerbs,
    ClaimVerbs,
    AttemptVerbs,
    AnnounceVerbs,
    ReadVerbs,
    CountVerbs,
    BatchVerbs,
    CensusVerbs,
    QueueVerbs,
    SweeperVerbs,
    ParkedVerbs,
    RegistryVerbs,
    PauseVerbs,
    LimitVerbs,
    CallbackVerbs,
    MinuteVerbs,
    AdministrationVerbs,
):
    """Every role of `ports` on one MongoDB database."""

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
        """Connect lazily: a service starts without a server. `timeout_s` bounds each call, retries included.
        `claims_tenants`: claims read whose jobs they take."""
        super().__init__(
            Connections(
                url,
                database,
                app_name=app_name,
                timeout_s=timeout_s,
                pool_size=pool_size,
                idle_connection_s=idle_connection_s,
                claims_tenants=claims_tenants,
            )
        )

    async def close(self) -> None:
        """Close all connections, without a wait on the event loop."""
        await self._connections.close()

    def changes(self) -> JobChanges:
        """Return a stream of changes, not open yet, on a connection of its own."""
        return MongoChanges(self._connections.watched_database, self._connections.jobs)

    def tokens(self) -> TokenStore:
        """Return the tokens of the same database."""
        return MongoTokens(self._connections.tokens)

    def audit(self) -> AuditStore:
        """Return the audit of the same database."""
        return MongoAudit(self._connections.audit)

    def load_tests(self) -> LoadTestStore:
        """Return the stored figures of load tests in the same database."""
        return MongoLoadTests(self._connections.load_tests)

    def bulk_actions(self) -> BulkStore:
        """Return the bulk actions of the same database."""
        return MongoBulkActions(self._connections.bulk_actions)

    def ledgers(self) -> MongoLedgers:
        """Return the ledgers of the same database."""
        found = self._connections
        return MongoLedgers(found.ledgers, found.ledger_parts, found.jobs)

    def schedules(self) -> MongoSchedules:
        """Return the schedules of the same database."""
        return MongoSchedules(self._connections.schedules)

    def callback_secrets(self) -> CallbackSecretStore:
        """Return the secrets of callbacks in the same database."""
        return MongoCallbackSecrets(self._connections.callback_secrets)

    def callback_endpoints(self) -> MongoCallbackEndpoints:
        """Return the callback endpoints in the same database."""
        return MongoCallbackEndpoints(self._connections.callback_endpoints)

    def choices(self) -> ChoiceStore:
        """Return the store of choices of bulk actions in the same database."""
        # Each read uses one snapshot: otherwise a job that moves in an index meanwhile could be skipped.
        return MongoChoices(self._connections.snapshot_jobs)
