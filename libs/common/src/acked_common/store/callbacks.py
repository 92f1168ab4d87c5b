"""OWNER of the storage ports of callbacks: ends of jobs that need a delivery, and the secrets that sign deliveries.

All verbs may raise `StoreError`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.callbacks import ROTATION, JobEnd
from acked_common.store.records import Job


class SettledEnds(Struct, frozen=True):
    """The ends of a job whose deliveries are inserted or were not requested."""

    id: UUID
    rev: int
    """The revision at which `callback_open` was read."""
    was_open: bool
    keys: tuple[str, ...]
    """Those of `callback_ends`."""


class CallbackStore(Protocol):
    """Find ends of jobs that need a delivery, and remove their marks."""

    async def take_turn(self, name: str, *, for_s: float, holder: str | None = None) -> bool:
        """Take a lock as `SweepStore.take_turn` does; the holder that has it extends it."""
        ...

    async def next_tenant_with_ends(self, after: str) -> str | None:
        """Return the first tenant after `after`, by name, that has such ends; None if there is none."""
        ...

    async def jobs_with_ends(self, tenant: str, *, limit: int) -> list[Job]:
        """Read jobs of a tenant with such ends, without payloads, results, errors and histories: at most `limit` whose
        last end is open, and as many with earlier ends. A job may be in the list twice."""
        ...

    async def settle_ends(self, settled: Sequence[SettledEnds]) -> None:
        """Remove the marks of ends; the mark of an open one only if its job has not moved."""
        ...


class CallbackRequests(Protocol):
    """Ask for a delivery to be sent again."""

    async def ask_again(self, job_id: UUID, end: JobEnd, *, tenant: str) -> bool:
        """Mark an end of a job for another delivery. Return False if the tenant has no such job with a callback, or
        with the endpoint of the end. A repetition changes nothing."""
        ...


class CallbackSecret(Struct, frozen=True):
    """A secret that signs the deliveries of a tenant."""

    id: str
    secret: str
    """With the prefix of Standard Webhooks. Never shown after it was made, and never logged."""
    made_at: datetime
    ends_at: datetime | None = None
    """When it stops signing, because a newer one has replaced it."""

    def signs(self, at: datetime) -> bool:
        """Return whether it signs at an instant."""
        return self.ends_at is None or at < self.ends_at

    def __repr__(self) -> str:
        """Leave the secret out, since records may be logged."""
        return f"CallbackSecret(id={self.id!r}, made_at={self.made_at!r}, ends_at={self.ends_at!r})"


class CallbackSecretReader(Protocol):
    """Read the secrets of a tenant."""

    async def secrets(self, tenant: str, at: datetime) -> list[CallbackSecret]:
        """Return those that sign at an instant, newest first: at most two."""
        ...


class CallbackSecretStore(CallbackSecretReader, Protocol):
    """Make and end secrets."""

    async def add_secret(self, tenant: str, secret: CallbackSecret) -> bool:
        """Add a secret from its `made_at` on; the one before signs for `ROTATION` more. Return False while two sign."""
        ...

    async def end_secret(self, tenant: str, secret_id: str, at: datetime) -> bool:
        """End a secret. Return False if no secret that signs has this id."""
        ...


class MemoryCallbackSecrets:
    """`CallbackSecretStore` in this process's memory."""

    def __init__(self) -> None:
        self._secrets: dict[str, list[CallbackSecret]] = {}

    async def secrets(self, tenant: str, at: datetime) -> list[CallbackSecret]:
        return [one for one in self._secrets.get(tenant, ()) if one.signs(at)]

    async def add_secret(self, tenant: str, secret: CallbackSecret) -> bool:
        signing = await self.secrets(tenant, secret.made_at)
        if len(signing) > 1:
            return False
        self._secrets[tenant] = [secret, *(replace(one, ends_at=secret.made_at + ROTATION) for one in signing)]
        return True

    async def end_secret(self, tenant: str, secret_id: str, at: datetime) -> bool:
        signing = await self.secrets(tenant, at)
        left = [one for one in signing if one.id != secret_id]
        self._secrets[tenant] = left
        return len(left) < len(signing)
