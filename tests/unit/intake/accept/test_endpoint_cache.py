"""The endpoints of new jobs, as intake has read them: a list that is too old is read again first."""

import asyncio
from collections.abc import Sequence

import pytest

from acked_common.model.callback_endpoints import READ_WITHIN_S, EndpointMatch
from acked_common.store.errors import StoreError, StoreForbidden, StoreUnavailable
from acked_intake.accept.endpoint_cache import REFRESH_S, EndpointCache
from support.callback_endpoints import endpoint
from support.factories import ManualClock
from support.memory_callback_endpoints import MemoryCallbackEndpoints
from support.parts import settle


class CountedEndpoints(MemoryCallbackEndpoints):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.error: StoreError | None = None
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def matches(self) -> Sequence[EndpointMatch]:
        self.reads += 1
        found = await super().matches()
        await self.may_read.wait()
        if self.error is not None:
            raise self.error
        return found


async def test_jobs_have_the_endpoints_of_their_tenant_and_kind() -> None:
    store, clock = CountedEndpoints(), ManualClock()
    for name, kinds in (("all", ()), ("mails", ("mail",))):
        await store.add(endpoint(name, kinds=kinds))
    await store.add(endpoint("theirs", tenant="globex"))
    cache = EndpointCache(store, clock.monotonic)
    assert not cache.is_fresh
    await cache.make_fresh()
    assert cache.names("acme", "mail") == ("all", "mails")
    assert cache.names("acme", "report") == ("all",)
    assert cache.names("globex", "mail") == ("theirs",)
    assert cache.names("other", "mail") == ()


async def test_list_is_read_again_before_it_is_too_old() -> None:
    assert REFRESH_S * 1.1 < READ_WITHIN_S
    store, clock = CountedEndpoints(), ManualClock()
    cache = EndpointCache(store, clock.monotonic)
    await cache.make_fresh()
    await store.add(endpoint("new"))
    clock.advance(READ_WITHIN_S - 0.1)
    await cache.make_fresh()
    assert (store.reads, cache.names("acme", "mail")) == (1, ())
    clock.advance(0.1)
    assert not cache.is_fresh
    await asyncio.gather(*(cache.make_fresh() for _ in range(20)))
    assert (store.reads, cache.names("acme", "mail")) == (2, ("new",))


async def test_age_of_a_list_counts_from_the_begin_of_its_read() -> None:
    store, clock = CountedEndpoints(), ManualClock()
    cache = EndpointCache(store, clock.monotonic)
    store.may_read.clear()
    reading = asyncio.create_task(cache.refresh())
    await settle()
    assert store.reads == 1
    clock.advance(READ_WITHIN_S)
    store.may_read.set()
    await reading
    assert not cache.is_fresh


async def test_list_that_cannot_be_read_is_not_fresh() -> None:
    store, clock = CountedEndpoints(), ManualClock()
    store.error = StoreUnavailable("no server responds")
    cache = EndpointCache(store, clock.monotonic)
    with pytest.raises(StoreUnavailable):
        await cache.make_fresh()
    assert not cache.is_fresh


async def test_list_that_a_version_without_endpoints_forbids_stays_as_it_was() -> None:
    """Nobody can change the endpoints meanwhile, so requests are accepted by the list that was read last."""
    store, clock = CountedEndpoints(), ManualClock()
    await store.add(endpoint("kept"))
    cache = EndpointCache(store, clock.monotonic)
    await cache.make_fresh()
    store.error = StoreForbidden("MongoDB refused (code 13)")
    clock.advance(READ_WITHIN_S)
    await cache.make_fresh()
    assert (cache.is_fresh, cache.names("acme", "mail")) == (True, ("kept",))
    store.error = None
    await store.add(endpoint("new"))
    clock.advance(READ_WITHIN_S)
    await cache.make_fresh()
    assert cache.names("acme", "mail") == ("kept", "new")
