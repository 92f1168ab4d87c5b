"""Intake without servers."""

from collections.abc import AsyncIterator

import pytest

from support.intake import IntakeBench


@pytest.fixture
async def bench() -> AsyncIterator[IntakeBench]:
    made = IntakeBench()
    await made.begin()
    yield made
    await made.bundle_publisher.stop()
