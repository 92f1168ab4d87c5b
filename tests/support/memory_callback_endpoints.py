"""Callback endpoints in memory, with the semantics of those on MongoDB."""

from collections.abc import Sequence

from msgspec.structs import replace

from acked_common.model.callback_endpoints import (
    MOST_IN_ALL,
    MOST_OF_TENANT,
    Endpoint,
    EndpointMatch,
    EndpointOutcomes,
    keeps_notes,
)
from acked_common.store.callback_endpoints import EndpointAdded
from acked_common.store.mongo.callback_endpoints import endpoint_document, endpoint_from
from acked_common.store.mongo.documents import Document


class MemoryCallbackEndpoints:
    """`EndpointStore`, `EndpointMatches` and `EndpointReader`."""

    def __init__(self) -> None:
        self._endpoints: dict[tuple[str, str], Document] = {}

    async def add(self, endpoint: Endpoint) -> EndpointAdded:
        if len(await self.list(endpoint.tenant)) >= MOST_OF_TENANT:
            return EndpointAdded.TENANT_FULL
        if len(self._endpoints) >= MOST_IN_ALL:
            return EndpointAdded.ALL_FULL
        if (endpoint.tenant, endpoint.name) in self._endpoints:
            return EndpointAdded.EXISTS
        self._keep(endpoint)
        return EndpointAdded.ADDED

    async def get(self, name: str, *, tenant: str) -> Endpoint | None:
        found = self._endpoints.get((tenant, name))
        return None if found is None else endpoint_from(found)

    async def list(self, tenant: str) -> Sequence[Endpoint]:
        return [one for one in await self.all() if one.tenant == tenant]

    async def all(self) -> Sequence[Endpoint]:
        return [endpoint_from(self._endpoints[key]) for key in sorted(self._endpoints)]

    async def matches(self) -> Sequence[EndpointMatch]:
        return [EndpointMatch(one.tenant, one.name, one.order.kinds) for one in await self.all() if not one.stopped]

    async def replace(self, endpoint: Endpoint, earlier: Endpoint) -> bool:
        stored = await self.get(endpoint.name, tenant=endpoint.tenant)
        if stored is None or stored.rev != earlier.rev:
            return False
        if keeps_notes(earlier, endpoint):
            endpoint = replace(
                endpoint,
                failing_since=stored.failing_since,
                gone_at=stored.gone_at,
                last_error=stored.last_error,
            )
        self._keep(endpoint)
        return True

    async def remove(self, name: str, *, tenant: str) -> bool:
        return self._endpoints.pop((tenant, name), None) is not None

    async def note(self, outcomes: Sequence[EndpointOutcomes]) -> None:
        for one in outcomes:
            stored = await self.get(one.name, tenant=one.tenant)
            if stored is None or stored.rev != one.rev:
                continue
            if one.succeeded:
                stored = replace(stored, failing_since=None, gone_at=None, last_error=None)
            self._keep(
                replace(
                    stored,
                    failing_since=stored.failing_since or one.failed_at,
                    gone_at=one.gone_at or stored.gone_at,
                    last_error=one.error or stored.last_error,
                )
            )

    def _keep(self, endpoint: Endpoint) -> None:
        self._endpoints[endpoint.tenant, endpoint.name] = endpoint_document(endpoint)
