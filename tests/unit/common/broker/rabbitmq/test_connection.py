"""A broker that hangs up in the handshake, as one that just stops does, or a proxy without one behind it, is away."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvloop
from aiormq.base import FutureStore

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection, library_errors

TRIES = 20
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""The end of the stream may be there before the first read or not: the services' loop is the quicker one."""


@pytest.fixture(params=["closed", "half closed"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=TRIES) as server:

        def hang_up() -> None:
            kept = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                if request.param == "closed":
                    connection.close()
                else:
                    connection.shutdown(socket.SHUT_WR)
                    kept.append(connection)
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_that_ends_in_the_handshake_is_a_broker_that_is_away(port: int, loop: str) -> None:
    async def connect() -> None:
        for _ in range(TRIES):
            connection = BrokerConnection(f"amqp://guest:guest@127.0.0.1:{port}/", name="test")
            with pytest.raises(BrokerError):
                await connection.open_channel()
            assert not connection.is_open

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(connect())


async def test_a_call_whose_connection_closes_meanwhile_is_broken() -> None:
    store = FutureStore(asyncio.get_running_loop())
    call = store.create_future()
    # So does the library once the broker has confirmed a close.
    await store.reject_all(None)
    with pytest.raises(BROKEN), library_errors():
        await call


@pytest.mark.parametrize("error", [ValueError("a"), BrokerError("b"), TimeoutError()])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, library_errors():
        raise error
    assert raised.value is error
