"""All verbs of a store: what the contract tests ask of both."""

from typing import Protocol

from acked_common.store.bulk_actions import BulkStore, ChoiceStore
from acked_common.store.callbacks import CallbackRequests, CallbackSecretStore, CallbackStore
from acked_common.store.ledgers import Ledgers
from acked_common.store.limits import LimitedClaimStore, LimitStore, LimitUseStore
from acked_common.store.parked import ParkedStore
from acked_common.store.ports import (
    AttentionStore,
    BacklogStore,
    CensusStore,
    ClaimStore,
    HealthStore,
    IdentityStore,
    JobChanges,
    JobLists,
    KeyStore,
    KindStore,
    LeaseStore,
    MinuteStore,
    OutcomeStore,
    PauseStore,
    PresenceStore,
    ProgressStore,
    QueueStore,
    SnapshotStore,
    SweepStore,
    TransitionStore,
    WatermarkStore,
)


class JobStore(
    TransitionStore,
    KeyStore,
    BacklogStore,
    ClaimStore,
    LeaseStore,
    OutcomeStore,
    ProgressStore,
    WatermarkStore,
    PresenceStore,
    KindStore,
    PauseStore,
    LimitStore,
    LimitedClaimStore,
    LimitUseStore,
    CallbackStore,
    CallbackRequests,
    SweepStore,
    ParkedStore,
    CensusStore,
    AttentionStore,
    MinuteStore,
    QueueStore,
    JobLists,
    SnapshotStore,
    HealthStore,
    IdentityStore,
    Protocol,
):
    """Every role at once; no part of a service asks for so much."""

    def changes(self) -> JobChanges:
        """A stream of changes; not open yet."""
        ...

    def callback_secrets(self) -> CallbackSecretStore:
        """The secrets of callbacks of the same data."""
        ...

    def bulk_actions(self) -> BulkStore:
        """The bulk actions of the same data."""
        ...

    def ledgers(self) -> Ledgers:
        """The ledgers of the same data."""
        ...

    def choices(self) -> ChoiceStore:
        """What finds the jobs of bulk actions."""
        ...
