"""The loop of a consumer, where its library does what it should not."""

import asyncio
from typing import Any

import pytest

from acked_common.broker.rabbitmq.consumer import Consumer
from support.parts import BOUND_S, settle


class SwallowingConnection:
    """Makes an error of its own of the cancellation that meets it, as the library does now and then."""

    is_open = True

    def __init__(self) -> None:
        self.opened = 0

    async def open_channel(self, **_: Any) -> None:
        self.opened += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("the channel is closed") from None

    async def close_channel(self, _: object) -> None:
        """There is none."""


async def never(*_: object) -> Any:
    raise AssertionError("nothing is consumed")


async def test_a_cancellation_that_the_library_swallows_ends_the_loop() -> None:
    connection = SwallowingConnection()
    consumer = Consumer(connection, "test", declare=never, on_message=never, look=never)  # type: ignore[arg-type]
    task = asyncio.create_task(consumer.run())
    await settle()
    task.cancel()
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert connection.opened == 1
