"""Deliveries run with the secrets of their tenant; all other jobs wait for nothing."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from acked_common.model.callback_endpoints import Disabled, EndpointOutcomes, disable, written
from acked_common.model.callbacks import CALLBACK_KIND
from acked_common.store.callbacks import CallbackSecret, MemoryCallbackSecrets
from acked_common.store.errors import StoreUnavailable
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.delivery_secrets import READ_FOR_S, DeliverySecrets
from support.callback_endpoints import AT, endpoint
from support.factories import ManualClock
from support.memory_callback_endpoints import MemoryCallbackEndpoints


class CountedSecrets(MemoryCallbackSecrets):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.is_away = False
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def secrets(self, tenant: str, at: datetime) -> list[CallbackSecret]:
        self.reads += 1
        await self.may_read.wait()
        if self.is_away:
            raise StoreUnavailable("no server responds")
        return await super().secrets(tenant, at)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def assignment(kind: str = CALLBACK_KIND, payload: Any = None, number: int = 1) -> Assignment:
    return Assignment(f"job-{number}", kind, 1, 1, 0, payload or {"tenant": "acme"}, 60.0)


class Ran:
    """Keeps what was run, and waits for it."""

    def __init__(self) -> None:
        self.all: list[Assignment] = []
        self._more = asyncio.Event()

    def __call__(self, assignments: Sequence[Assignment]) -> None:
        self.all += assignments
        self._more.set()

    async def wait(self, count: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.all) < count:
                self._more.clear()
                await self._more.wait()
        return [one.payload for one in self.all]


async def test_delivery_gets_the_secrets_of_its_tenant(clock: ManualClock) -> None:
    store, ran = CountedSecrets(), Ran()
    await store.add_secret("acme", CallbackSecret("cs_1", "whsec_1", clock.now()))
    secrets = DeliverySecrets(store, MemoryCallbackEndpoints(), clock)
    secrets.submit([assignment(), assignment("demo", {"a": 1}, 2)], ran)
    assert [one.kind for one in ran.all] == ["demo"]
    assert await ran.wait(2) == [{"a": 1}, {"tenant": "acme", "secrets": ["whsec_1"]}]
    secrets.submit([assignment(payload={"tenant": "other"}, number=3)], ran)
    assert (await ran.wait(3))[-1]["secrets"] == []


async def test_secrets_are_read_again_after_a_while(clock: ManualClock) -> None:
    store, ran = CountedSecrets(), Ran()
    await store.add_secret("acme", CallbackSecret("cs_1", "whsec_1", clock.now()))
    secrets = DeliverySecrets(store, MemoryCallbackEndpoints(), clock)
    store.reads = 0
    for number in (1, 2):
        secrets.submit([assignment(number=number)], ran)
        await ran.wait(number)
    assert store.reads == 1
    await store.add_secret("acme", CallbackSecret("cs_2", "whsec_2", clock.now()))
    clock.advance(READ_FOR_S)
    secrets.submit([assignment(number=3)], ran)
    assert (await ran.wait(3))[-1]["secrets"] == ["whsec_2", "whsec_1"]


async def test_delivery_runs_without_secrets_while_mongodb_is_away(clock: ManualClock) -> None:
    store, ran = CountedSecrets(), Ran()
    store.is_away = True
    DeliverySecrets(store, MemoryCallbackEndpoints(), clock).submit([assignment()], ran)
    assert await ran.wait(1) == [{"tenant": "acme", "secrets": []}]


async def test_delivery_that_waits_at_the_end_is_returned(clock: ManualClock) -> None:
    store, ran = CountedSecrets(), Ran()
    store.may_read.clear()
    secrets = DeliverySecrets(store, MemoryCallbackEndpoints(), clock)
    secrets.submit([assignment()], ran)
    assert [one.id for one in await secrets.close()] == ["job-1"]
    store.may_read.set()
    assert ran.all == []
    assert await secrets.close() == []


async def ran_with(endpoints: MemoryCallbackEndpoints, clock: ManualClock) -> dict[str, Any]:
    """The payload with which a delivery to the endpoint `billing` runs."""
    store, ran = CountedSecrets(), Ran()
    await store.add_secret("acme", CallbackSecret("cs_1", "whsec_1", clock.now()))
    payload = {"tenant": "acme", "url": "https://example.com/before", "endpoint": "billing"}
    DeliverySecrets(store, endpoints, clock).submit([assignment(payload=payload)], ran)
    (found,) = await ran.wait(1)
    return dict(found)


async def test_delivery_goes_where_its_endpoint_leads_now(clock: ManualClock) -> None:
    endpoints = MemoryCallbackEndpoints()
    await endpoints.add(endpoint(url="https://example.com/now", headers=(("x-key", "1"),)))
    found = await ran_with(endpoints, clock)
    assert (found["url"], found["headers"], found["endpoint_rev"]) == ("https://example.com/now", {"x-key": "1"}, 1)
    assert found["secrets"] == ["whsec_1"] and "stopped" not in found


async def test_delivery_to_a_stopped_endpoint_says_so(clock: ManualClock) -> None:
    endpoints = MemoryCallbackEndpoints()
    assert "deleted" in (await ran_with(endpoints, clock))["stopped"]
    made = endpoint()
    await endpoints.add(made)
    await endpoints.replace(written(made, disable(made, Disabled(AT, "ann")), AT), made)
    assert "disabled" in (await ran_with(endpoints, clock))["stopped"]
    await endpoints.note([EndpointOutcomes("acme", "billing", 2, gone_at=AT, error="no")])
    assert "stopped" in await ran_with(endpoints, clock)


async def test_delivery_waits_for_mongodb_to_tell_its_endpoint(clock: ManualClock) -> None:
    class Away(MemoryCallbackEndpoints):
        async def get(self, name: str, *, tenant: str) -> Any:
            raise StoreUnavailable("no server responds")

    # Without secrets the attempt fails, and is retried.
    assert (await ran_with(Away(), clock))["secrets"] == []
