"""Several hosts of RabbitMQ: what is dead or silent is skipped within a bound, and the real one is used."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import HOST_WITHIN_S, BrokerConnection
from acked_common.broker.rabbitmq.publisher import RabbitPublisher
from acked_common.model.bundle import Bundle
from acked_common.model.ids import new_id
from support.tcp_proxy import proxy_to

WITHIN_S = 20.0


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def silent_host() -> AsyncIterator[int]:
    """Accepts connections, and says nothing."""
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in accepted:
            writer.transport.abort()


def with_hosts(amqp_url: str, *hosts: str) -> str:
    """The URL with other hosts in front of its own."""
    parts = urlsplit(amqp_url)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{','.join((*hosts, host))}").geturl()


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts are tried as they stand."""
    monkeypatch.setattr(random, "sample", lambda found, _: list(found))


async def opened(connection: BrokerConnection) -> float:
    """How long it took to open a channel."""
    began = time.monotonic()
    async with asyncio.timeout(WITHIN_S):
        await connection.open_channel()
    return time.monotonic() - began


async def test_a_dead_host_is_skipped_at_once(amqp_url: str, in_order: None) -> None:
    connection = BrokerConnection(with_hosts(amqp_url, f"127.0.0.1:{dead_port()}"), name="test")
    await opened(connection)
    assert connection.is_open
    await connection.drop()


async def test_a_host_that_says_nothing_is_skipped_within_a_bound(amqp_url: str, in_order: None) -> None:
    async with silent_host() as port:
        connection = BrokerConnection(with_hosts(amqp_url, f"127.0.0.1:{port}"), name="test")
        assert await opened(connection) >= HOST_WITHIN_S
        assert connection.is_open
        # What failed last comes last: the next connection does not wait for it again.
        await connection.drop()
        assert await opened(connection) < HOST_WITHIN_S
        await connection.drop()


async def test_bundles_are_published_past_dead_and_silent_hosts(amqp_url: str, in_order: None) -> None:
    async with silent_host() as port:
        url = with_hosts(amqp_url, f"127.0.0.1:{dead_port()}", f"127.0.0.1:{port}")
        publisher = RabbitPublisher(url, name="test")
        async with asyncio.timeout(WITHIN_S):
            for _ in range(40):
                try:
                    bundle = Bundle(f"test-{uuid4().hex[:12]}", datetime(2026, 1, 2, tzinfo=UTC), (new_id(),))
                    await publisher.publish(bundle)
                    break
                except BrokerError:
                    await asyncio.sleep(0.05)
        assert publisher.is_open
        await publisher.close()


async def test_a_node_that_goes_away_is_replaced_by_another(amqp_url: str) -> None:
    parts = urlsplit(amqp_url)
    assert parts.hostname and parts.port
    async with proxy_to(parts.hostname, parts.port) as one, proxy_to(parts.hostname, parts.port) as other:
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{one.port},127.0.0.1:{other.port}"
        connection = BrokerConnection(parts._replace(netloc=netloc).geturl(), name="test")
        await opened(connection)
        for gone in (one, other):
            gone.refuse()
            await asyncio.wait_for(lost(connection), WITHIN_S) if connection_is_through(connection, gone.port) else None
            await opened(connection)
            assert not connection_is_through(connection, gone.port)
            gone.heal()
        await connection.drop()


def connection_is_through(connection: BrokerConnection, port: int) -> bool:
    assert connection._connection is not None
    return connection._connection.url.port == port


async def lost(connection: BrokerConnection) -> None:
    while connection.is_open:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)


async def test_when_no_host_responds_each_is_named_without_the_password(in_order: None) -> None:
    ports = [dead_port(), dead_port()]
    url = f"amqp://user:kept-in-no-message@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/"
    connection = BrokerConnection(url, name="test")
    with pytest.raises(BrokerError) as raised:
        await connection.open_channel()
    for port in ports:
        assert f"127.0.0.1:{port}" in str(raised.value)
    assert "kept-in-no-message" not in str(raised.value)
    # Between attempts it fails at once.
    with pytest.raises(BrokerError, match="RabbitMQ is unavailable"):
        await connection.open_channel()
    await connection.drop()


def test_clients_begin_with_different_hosts() -> None:
    url = f"amqp://{','.join(f'rabbit-{n}' for n in range(5))}/"
    first = {BrokerConnection(url, name="test")._in_turn()[0].name for _ in range(200)}
    assert len(first) == 5
