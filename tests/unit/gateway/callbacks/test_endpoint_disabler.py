"""Endpoints that Acked disables, with their reasons, and the states that the metrics show."""

import pytest
from prometheus_client import REGISTRY

from acked_common.model.callback_endpoints import (
    FAILING_AFTER,
    FAILS_FOR,
    GONE_REASON,
    STATES,
    Disabled,
    EndpointOutcomes,
    disable,
    written,
)
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.endpoint_disabler import TURN_S, EndpointDisabler
from support.callback_endpoints import endpoint
from support.factories import ManualClock
from support.memory_store import MemoryStore


class Bench:
    """Keepers over a store in memory, in which one endpoint has failed since the begin."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.endpoints = self.store.callback_endpoints()

    def keeper(self, holder: str = "one") -> EndpointDisabler:
        audit = Audit(self.store.audit(), self.clock)
        return EndpointDisabler(self.endpoints, self.store, audit, self.clock, holder=holder)

    async def note(self, *, gone: bool = False, rev: int = 1) -> None:
        at = self.clock.now()
        outcomes = EndpointOutcomes("acme", "billing", rev, failed_at=at, gone_at=at if gone else None, error="500")
        await self.endpoints.note([outcomes])

    def audited(self) -> list[tuple[str, str, object, str | None]]:
        return [(one.client, one.action, one.target["endpoint"], one.reason) for one in self.store.audit().entries]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.endpoints.add(endpoint())
    return made


async def test_endpoint_that_only_fails_is_disabled_after_five_days(bench: Bench) -> None:
    keeper = bench.keeper()
    await bench.note()
    bench.clock.advance(FAILS_FOR.total_seconds() - 1)
    await bench.note()
    await keeper.look()
    found = await bench.endpoints.get("billing", tenant="acme")
    assert found is not None and found.disabled is None
    bench.clock.advance(1)
    await keeper.look()
    found = await bench.endpoints.get("billing", tenant="acme")
    assert found is not None and found.disabled is not None
    reason = "its deliveries have only failed for 5 days; the last error: 500"
    assert (found.disabled.by, found.disabled.reason, found.rev) == ("acked", reason, 2)
    assert bench.audited() == [("acked", "callback_endpoint_disable", "billing", reason)]
    await keeper.look()
    assert len(bench.audited()) == 1


async def test_endpoint_that_is_gone_is_disabled_at_once(bench: Bench) -> None:
    await bench.note(gone=True)
    await bench.keeper().look()
    found = await bench.endpoints.get("billing", tenant="acme")
    assert found is not None and found.disabled is not None
    assert found.disabled.reason == GONE_REASON


async def test_one_gateway_at_a_time_disables(bench: Bench) -> None:
    first, second = bench.keeper("one"), bench.keeper("two")
    assert await bench.store.take_turn("callback endpoints", for_s=TURN_S, holder="one")
    await bench.note(gone=True)
    await second.look()
    assert bench.audited() == []
    await first.look()
    await second.look()
    assert len(bench.audited()) == 1


async def test_endpoints_are_counted_by_state(bench: Bench) -> None:
    off = endpoint("off")
    await bench.endpoints.add(off)
    await bench.endpoints.replace(written(off, disable(off, Disabled(bench.clock.now(), "ann")), off.made_at), off)
    await bench.endpoints.add(endpoint("fine"))
    await bench.note()
    bench.clock.advance(FAILING_AFTER.total_seconds())
    keeper = bench.keeper()
    assert REGISTRY.get_sample_value("acked_callback_endpoints", {"state": "off"}) is None
    await keeper.look()
    found = {state: REGISTRY.get_sample_value("acked_callback_endpoints", {"state": state}) for state in STATES}
    assert found == {"enabled": 1, "failing": 1, "disabled": 0, "off": 1}
    await bench.note(gone=True)
    await keeper.look()
    assert REGISTRY.get_sample_value("acked_callback_endpoints", {"state": "disabled"}) == 1
