"""The executor of each test, and the events by which its handlers begin and end."""

import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from support.executor import Bench, open_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An executor that is closed after the test."""
    async with open_bench() as opened:
        yield opened


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Frees handlers that block; set after the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def started() -> threading.Event:
    """Set by a handler when it has begun."""
    return threading.Event()
