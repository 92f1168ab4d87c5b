"""The commands of people, over parts in memory."""

from collections.abc import AsyncIterator

import pytest

from support.commands_bench import CommandsBench as Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.kinds.refresh()
    yield made
    await made.bundle_publisher.stop()
