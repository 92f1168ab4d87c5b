"""The example that ships: an order that waits for its payment, killed at every point, in time and too late."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from acked import registry
from acked.testing import Event, LongWork, survives_every_crash

EXAMPLE = Path(__file__).resolve().parents[4] / "handlers" / "order.py.example"
PAID = Event(signal="paid", value=100)
PAYLOAD = {"order": "7"}


@pytest.fixture
def order() -> Any:
    """The handler, from the file as it ships."""
    before = registry.snapshot()
    try:
        yield runpy.run_path(str(EXAMPLE))["order"]
    finally:
        registry.restore(before)


async def test_a_paid_order_is_shipped_without_a_reminder(order: Any) -> None:
    async with LongWork(order, PAYLOAD) as job:
        await job.until_parked()
        assert job.waits.signals == ("paid",)
        await job.signal("paid", 100)
        assert job.result["paid"] == 100
        assert job.steps == ["invoice", "ship", 'mail["shipped"]']


async def test_an_order_that_is_paid_after_the_reminder_is_shipped(order: Any) -> None:
    async with LongWork(order, PAYLOAD) as job:
        await job.until_parked()
        await job.advance(days=8)
        await job.signal("paid", 100)
        assert job.steps == ["invoice", "remind", "ship", 'mail["shipped"]']


async def test_an_order_that_is_not_paid_fails_after_a_fortnight(order: Any) -> None:
    async with LongWork(order, PAYLOAD) as job:
        await job.until_parked()
        await job.advance(days=15)
        assert job.error is not None
        assert job.error["type"] == "unpaid"
        assert job.steps == ["invoice", "remind", 'mail["cancelled"]']


@pytest.mark.parametrize("events", [[PAID], [Event(days=8), PAID], [Event(days=8), Event(days=8)]], ids=len)
async def test_an_order_survives_every_crash(order: Any, events: list[Event]) -> None:
    await survives_every_crash(order, PAYLOAD, events)
