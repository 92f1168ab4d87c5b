"""Callback endpoints on every store."""

from datetime import timedelta
from typing import TypeAlias

import pytest
from msgspec.structs import replace

from acked_common.model import callback_endpoints
from acked_common.model.callback_endpoints import Disabled, EndpointMatch, EndpointOutcomes, disable, enable, written
from acked_common.store.callback_endpoints import EndpointAdded
from acked_common.store.mongo.callback_endpoints import MongoCallbackEndpoints
from acked_common.store.mongo.store import MongoStore
from support.callback_endpoints import AT, endpoint
from support.memory_callback_endpoints import MemoryCallbackEndpoints
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AnyEndpoints: TypeAlias = MemoryCallbackEndpoints | MongoCallbackEndpoints
WHOLE = endpoint(kinds=("mail",), headers=(("authorization", "Bearer $x"), ("x.y", "1")))
NOTED = EndpointOutcomes("acme", "billing", 1, failed_at=AT, error="$no")
LATER = AT + timedelta(seconds=5)


@pytest.fixture
def endpoints(store: AnyStore) -> AnyEndpoints:
    return store.callback_endpoints()


async def test_endpoint_comes_back_as_it_was_stored(endpoints: AnyEndpoints) -> None:
    assert await endpoints.add(WHOLE) is EndpointAdded.ADDED
    assert await endpoints.get("billing", tenant="acme") == WHOLE
    disabled = written(WHOLE, disable(WHOLE, Disabled(AT, "ann", "moves")), LATER)
    assert await endpoints.replace(disabled, WHOLE)
    assert await endpoints.get("billing", tenant="acme") == disabled
    assert await endpoints.get("billing", tenant="globex") is None


async def test_endpoints_are_listed_by_tenant_and_name(endpoints: AnyEndpoints) -> None:
    for tenant, name in (("acme", "b"), ("acme", "a"), ("acme0", "c"), ("globex", "d")):
        await endpoints.add(endpoint(name, tenant=tenant))
    assert [one.name for one in await endpoints.list("acme")] == ["a", "b"]
    assert [one.name for one in await endpoints.all()] == ["a", "b", "c", "d"]
    assert await endpoints.list("nobody") == []


async def test_matches_are_those_of_enabled_endpoints(endpoints: AnyEndpoints) -> None:
    for name in ("gone", "off"):
        await endpoints.add(endpoint(name))
    await endpoints.add(WHOLE)
    await endpoints.note([replace(NOTED, name="gone", gone_at=AT), NOTED])
    off = endpoint("off")
    assert await endpoints.replace(written(off, disable(off, Disabled(AT, "ann")), AT), off)
    assert await endpoints.matches() == [EndpointMatch("acme", "billing", ("mail",))]


async def test_of_two_writers_one_wins(endpoints: AnyEndpoints) -> None:
    assert await endpoints.add(WHOLE) is EndpointAdded.ADDED
    assert await endpoints.add(endpoint(url="https://example.com/other")) is EndpointAdded.EXISTS
    ours, theirs = (written(WHOLE, disable(WHOLE, Disabled(AT, who)), LATER) for who in ("ann", "bob"))
    assert await endpoints.replace(ours, WHOLE)
    assert not await endpoints.replace(theirs, WHOLE)
    assert await endpoints.get("billing", tenant="acme") == ours
    assert not await endpoints.replace(written(endpoint("none"), endpoint("none"), AT), endpoint("none"))


async def test_notes_keep_the_first_failure_until_a_success(endpoints: AnyEndpoints) -> None:
    await endpoints.add(WHOLE)
    await endpoints.note([])
    await endpoints.note([NOTED])
    await endpoints.note([replace(NOTED, failed_at=LATER, error="later")])
    assert await endpoints.get("billing", tenant="acme") == replace(WHOLE, failing_since=AT, last_error="later")
    await endpoints.note([replace(NOTED, succeeded=True, failed_at=LATER, gone_at=LATER)])
    again = replace(WHOLE, failing_since=LATER, gone_at=LATER, last_error="$no")
    assert await endpoints.get("billing", tenant="acme") == again
    await endpoints.note([EndpointOutcomes("acme", "billing", 1, succeeded=True)])
    assert await endpoints.get("billing", tenant="acme") == WHOLE


async def test_notes_of_another_definition_have_no_effect(endpoints: AnyEndpoints) -> None:
    await endpoints.add(WHOLE)
    await endpoints.note([replace(NOTED, rev=2), replace(NOTED, name="none"), replace(NOTED, tenant="globex")])
    assert await endpoints.all() == [WHOLE]


async def test_definition_keeps_notes_unless_it_begins_anew(endpoints: AnyEndpoints) -> None:
    await endpoints.add(WHOLE)
    # A worker writes between the gateway's read and its write.
    await endpoints.note([NOTED])
    narrowed = written(WHOLE, replace(WHOLE, order=replace(WHOLE.order, kinds=("a",))), LATER)
    assert await endpoints.replace(narrowed, WHOLE)
    found = await endpoints.get("billing", tenant="acme")
    assert found == replace(narrowed, failing_since=AT, last_error="$no")
    stopped = written(found, disable(found, Disabled(AT, "ann")), LATER)
    assert await endpoints.replace(stopped, found)
    assert await endpoints.get("billing", tenant="acme") == stopped
    enabled = written(stopped, enable(stopped), LATER)
    assert await endpoints.replace(enabled, stopped)
    assert await endpoints.get("billing", tenant="acme") == replace(narrowed, rev=4)


async def test_endpoint_is_deleted_once(endpoints: AnyEndpoints) -> None:
    await endpoints.add(WHOLE)
    assert not await endpoints.remove("billing", tenant="globex")
    assert await endpoints.remove("billing", tenant="acme")
    assert not await endpoints.remove("billing", tenant="acme")
    assert await endpoints.all() == []


async def test_the_number_is_bounded(endpoints: AnyEndpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callback_endpoints.MOST_OF_TENANT == 20
    for module in ("acked_common.store.mongo.callback_endpoints", "support.memory_callback_endpoints"):
        monkeypatch.setattr(f"{module}.MOST_OF_TENANT", 2)
        monkeypatch.setattr(f"{module}.MOST_IN_ALL", 3)
    assert [await endpoints.add(endpoint(name)) for name in "abc"] == [
        EndpointAdded.ADDED,
        EndpointAdded.ADDED,
        EndpointAdded.TENANT_FULL,
    ]
    assert await endpoints.add(endpoint("a", tenant="globex")) is EndpointAdded.ADDED
    assert await endpoints.add(endpoint("b", tenant="globex")) is EndpointAdded.ALL_FULL
