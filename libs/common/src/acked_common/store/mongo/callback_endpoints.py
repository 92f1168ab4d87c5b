"""Callback endpoints on MongoDB.

The id is tenant and name, so lists and counts of a tenant read a range of ids. Gateways compare `rev`, and workers
write how deliveries go beside it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from pymongo import ASCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from acked_common.model.callback_endpoints import (
    MOST_IN_ALL,
    MOST_OF_TENANT,
    Endpoint,
    EndpointMatch,
    EndpointOutcomes,
    keeps_notes,
)
from acked_common.store.callback_endpoints import EndpointAdded
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors

_AS_THEY_ARE = (datetime,)
_SEPARATOR, _BEHIND_SEPARATOR = "/", "0"
"""No tenant and no name contains the separator; the other is the next character."""
_OPTIONAL = ("disabled", "failing_since", "gone_at", "last_error")
_NOTED = ("failing_since", "gone_at", "last_error")
_READ = 2 * MOST_IN_ALL
"""More than there are, since requests in flight may exceed the maximum."""
_ENABLED: Document = {"disabled": {"$exists": False}, "gone_at": {"$exists": False}}
_MATCHED: Document = {"tenant": 1, "name": 1, "order.kinds": 1}


def endpoint_id(tenant: str, name: str) -> str:
    """Return the id of the document."""
    return f"{tenant}{_SEPARATOR}{name}"


def endpoint_document(endpoint: Endpoint) -> Document:
    """Return the document. A field that is None is absent."""
    document: Document = msgspec.to_builtins(endpoint, builtin_types=_AS_THEY_ARE)
    for name in _OPTIONAL:
        if document[name] is None:
            del document[name]
    return {"_id": endpoint_id(endpoint.tenant, endpoint.name), **document}


def endpoint_from(document: Document) -> Endpoint:
    """Return the endpoint; fields of a newer version are ignored."""
    return msgspec.convert(document, Endpoint, builtin_types=_AS_THEY_ARE)


class MongoCallbackEndpoints:
    """`EndpointStore`, `EndpointMatches` and `EndpointReader` on one database."""

    def __init__(self, endpoints: Collection) -> None:
        """`endpoints` is the collection; its writes wait for a majority, its reads see one."""
        self._endpoints = endpoints

    async def add(self, endpoint: Endpoint) -> EndpointAdded:
        with store_errors("storing a callback endpoint"):
            own = _of(endpoint.tenant)
            if await self._endpoints.count_documents(own, limit=MOST_OF_TENANT) >= MOST_OF_TENANT:
                return EndpointAdded.TENANT_FULL
            if await self._endpoints.estimated_document_count() >= MOST_IN_ALL:
                return EndpointAdded.ALL_FULL
            try:
                await self._endpoints.insert_one(endpoint_document(endpoint))
            except DuplicateKeyError:
                return EndpointAdded.EXISTS
        return EndpointAdded.ADDED

    async def get(self, name: str, *, tenant: str) -> Endpoint | None:
        with store_errors("reading a callback endpoint"):
            found = await self._endpoints.find_one({"_id": endpoint_id(tenant, name)})
        return None if found is None else endpoint_from(found)

    async def list(self, tenant: str) -> Sequence[Endpoint]:
        return await self._read(_of(tenant))

    async def all(self) -> Sequence[Endpoint]:
        return await self._read({})

    async def matches(self) -> Sequence[EndpointMatch]:
        with store_errors("reading callback endpoints"):
            found = self._endpoints.find(_ENABLED, _MATCHED).limit(_READ).batch_size(_READ + 1)
            documents = await found.to_list(None)
        return [EndpointMatch(one["tenant"], one["name"], tuple(one["order"]["kinds"])) for one in documents]

    async def replace(self, endpoint: Endpoint, earlier: Endpoint) -> bool:
        document = endpoint_document(endpoint)
        kept = _NOTED if keeps_notes(earlier, endpoint) else ()
        names = [name for name in Endpoint.__struct_fields__ if name not in kept]
        change: Document = {"$set": {name: document[name] for name in names if name in document}}
        if gone := {name: "" for name in names if name not in document}:
            change["$unset"] = gone
        with store_errors("changing a callback endpoint"):
            done = await self._endpoints.update_one({"_id": document["_id"], "rev": earlier.rev}, change)
        return bool(done.matched_count)

    async def remove(self, name: str, *, tenant: str) -> bool:
        with store_errors("deleting a callback endpoint"):
            done = await self._endpoints.delete_one({"_id": endpoint_id(tenant, name)})
        return done.deleted_count > 0

    async def note(self, outcomes: Sequence[EndpointOutcomes]) -> None:
        if outcomes:
            with store_errors("noting how deliveries go"):
                await self._endpoints.bulk_write([_update(one) for one in outcomes], ordered=False)

    async def _read(self, criteria: Document) -> Sequence[Endpoint]:
        with store_errors("reading callback endpoints"):
            found = self._endpoints.find(criteria).sort("_id", ASCENDING).limit(_READ).batch_size(_READ + 1)
            return [endpoint_from(one) for one in await found.to_list(None)]


def _of(tenant: str) -> dict[str, Any]:
    return {"_id": {"$gt": endpoint_id(tenant, ""), "$lt": f"{tenant}{_BEHIND_SEPARATOR}"}}


def _update(one: EndpointOutcomes) -> UpdateOne:
    noted = {"failing_since": one.failed_at, "gone_at": one.gone_at, "last_error": one.error}
    change: list[Document] = []
    if one.succeeded:
        change.append({"$unset": list(_NOTED)})
    values: Document = {name: {"$literal": value} for name, value in noted.items() if value is not None}
    if "failing_since" in values:
        # The first failure since the last success stays.
        values["failing_since"] = {"$ifNull": ["$failing_since", values["failing_since"]]}
    if values:
        change.append({"$set": values})
    return UpdateOne({"_id": endpoint_id(one.tenant, one.name), "rev": one.rev}, change)
