"""The store on MongoDB: all roles of `ports` over one set of connections."""

from acked_common.store.audit import AuditStore
from acked_common.store.bulk_actions import BulkStore, ChoiceStore
from acked_common.store.mongo.administration import AdministrationVerbs
from acked_common.store.mongo.apply import AttemptVerbs
from acked_common.store.mongo.audit import MongoAudit
from acked_common.store.mongo.bulk_actions import MongoBulkActions
from acked_common.store.mongo.bulk_choice import MongoChoices
from acked_common.store.mongo.census import CensusVerbs
from acked_common.store.mongo.changes import MongoChanges
from acked_common.store.mongo.claim import ClaimVerbs
from acked_common.store.mongo.connections import IDLE_CONNECTION_S, Connections
from acked_common.store.mongo.counts import CountVerbs
from acked_common.store.mongo.insert import NewJobVerbs
from acked_common.store.mongo.minutes import MinuteVerbs
from acked_common.store.mongo.pauses import PauseVerbs
from acked_common.store.mongo.queue import QueueVerbs
from acked_common.store.mongo.reads import ReadVerbs
from acked_common.store.mongo.registry import RegistryVerbs
from acked_common.store.mongo.sweeps import SweeperVerbs
from acked_common.store.mongo.tokens import MongoTokens
from acked_common.store.ports import JobChanges
from acked_common.store.tokens import TokenStore


class MongoStore(
    NewJobVerbs,
    ClaimVerbs,
    AttemptVerbs,
    ReadVerbs,
    CountVerbs,
    CensusVerbs,
    QueueVerbs,
    SweeperVerbs,
    RegistryVerbs,
    PauseVerbs,
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
        """Connects lazily: a service starts without a server. `timeout_s` bounds each call, retries included.
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
        """Closes all connections, without a wait on the event loop."""
        await self._connections.close()

    def changes(self) -> JobChanges:
        """Returns a stream of changes, not open yet, on a connection of its own."""
        return MongoChanges(self._connections.watched_database, self._connections.jobs)

    def tokens(self) -> TokenStore:
        """Returns the tokens of the same database."""
        return MongoTokens(self._connections.tokens)

    def audit(self) -> AuditStore:
        """Returns the audit of the same database."""
        return MongoAudit(self._connections.audit)

    def bulk_actions(self) -> BulkStore:
        """Returns the bulk actions of the same database."""
        return MongoBulkActions(self._connections.bulk_actions)

    def choices(self) -> ChoiceStore:
        """Returns what finds the jobs of bulk actions in the same database."""
        # From a snapshot for each look: a job that moves along an index meanwhile would else be passed over.
        return MongoChoices(self._connections.snapshot_jobs)
