"""The storage ports of callback endpoints. All verbs may raise `StoreError`."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from acked_common.model.callback_endpoints import Endpoint, EndpointMatch, EndpointOutcomes


class EndpointAdded(Enum):
    """The outcome of adding an endpoint."""

    ADDED = "added"
    EXISTS = "exists"
    """The tenant has one of this name."""
    TENANT_FULL = "tenant-full"
    """The tenant has `MOST_OF_TENANT`."""
    ALL_FULL = "all-full"
    """All tenants together have `MOST_IN_ALL`."""


class EndpointReader(Protocol):
    """Read an endpoint, for workers, and write how its deliveries go."""

    async def get(self, name: str, *, tenant: str) -> Endpoint | None:
        """Read an endpoint of the tenant, from the majority."""
        ...

    async def note(self, outcomes: Sequence[EndpointOutcomes]) -> None:
        """Record outcomes of attempts. Those of another definition than the stored one have no effect."""
        ...


class EndpointMatches(Protocol):
    """Read the endpoints of tenants, for intakes."""

    async def matches(self) -> Sequence[EndpointMatch]:
        """Read what is matched with new jobs: of all enabled endpoints of all tenants, from the majority."""
        ...

    async def list(self, tenant: str) -> Sequence[Endpoint]:
        """Read the endpoints of a tenant, by name: few."""
        ...


class EndpointStore(Protocol):
    """Define, read and change endpoints, for gateways."""

    async def add(self, endpoint: Endpoint) -> EndpointAdded:
        """Store a new endpoint."""
        ...

    async def get(self, name: str, *, tenant: str) -> Endpoint | None:
        """Read an endpoint of the tenant, from the majority."""
        ...

    async def list(self, tenant: str) -> Sequence[Endpoint]:
        """Read the endpoints of a tenant, by name: few."""
        ...

    async def replace(self, endpoint: Endpoint, earlier: Endpoint) -> bool:
        """Replace the stored definition of `earlier` by the next one. Return False if it has changed meanwhile. What
        workers have noted stays by `keeps_notes`. A repetition changes nothing."""
        ...

    async def remove(self, name: str, *, tenant: str) -> bool:
        """Delete an endpoint. Return whether there was one."""
        ...

    async def all(self) -> Sequence[Endpoint]:
        """Read the endpoints of all tenants."""
        ...
