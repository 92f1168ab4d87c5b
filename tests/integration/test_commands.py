"""Commands between gateways on a real RabbitMQ: they reach every one, whatever happens to the broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import aio_pika
import pytest
from starlette.applications import Starlette

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.command_bus import RabbitCommandBus
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.topology import COMMANDS_EXCHANGE
from acked_common.channel.commands import CancelCommand, Command, DatabaseNotice, DrainCommand
from acked_common.channel.frames import Cancel, JobAttempt
from acked_common.channel.worker_end import hello_of
from acked_gateway.workers.channel import WorkerChannel
from acked_gateway.workers.command_router import CommandRouter
from acked_worker.report.reporter import Reporter
from acked_worker.settings import GatewayUrl
from support.servers import Servers
from support.web_server import HOST, web_server

WITHIN_S = 20.0
SECRET = "0123456789abcdef0123456789abcdef"
COMMAND = CancelCommand("boot-1", [JobAttempt(UUID(int=7), 3)])


class Member:
    """One gateway's part in the fan-out."""

    def __init__(self, amqp_url: str) -> None:
        self.arrived: asyncio.Queue[Command] = asyncio.Queue()
        self.bus = RabbitCommandBus(amqp_url, name="test", on_command=self.arrived.put_nowait)


@asynccontextmanager
async def members(amqp_url: str, count: int) -> AsyncIterator[list[Member]]:
    made = [Member(amqp_url) for _ in range(count)]
    for one in made:
        await one.bus.start()
    try:
        yield made
    finally:
        for one in made:
            await one.bus.stop()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - the broker sets no event of ours
            await asyncio.sleep(0.01)


async def consuming(*made: RabbitCommandBus) -> None:
    await until(lambda: all(bus.is_consuming for bus in made))


async def next_of(one: Member) -> Command:
    async with asyncio.timeout(WITHIN_S):
        return await one.arrived.get()


async def test_a_command_reaches_every_gateway(amqp_url: str) -> None:
    async with members(amqp_url, 3) as made:
        await consuming(*(one.bus for one in made))
        for command in (COMMAND, DrainCommand("boot-2")):
            await made[0].bus.publish(command)
            assert [await next_of(one) for one in made] == [command] * 3


async def test_a_notice_of_the_database_reaches_every_gateway_and_is_no_command(amqp_url: str) -> None:
    notice = DatabaseNotice("id", "acked")
    noticed: asyncio.Queue[DatabaseNotice] = asyncio.Queue()
    commands: list[Command] = []
    buses = [
        RabbitCommandBus(amqp_url, name="test", on_command=commands.append, on_notice=noticed.put_nowait)
        for _ in range(2)
    ]
    for bus in buses:
        await bus.start()
    await consuming(*buses)
    await buses[0].publish(notice)
    async with asyncio.timeout(WITHIN_S):
        assert [await noticed.get(), await noticed.get()] == [notice] * 2
    assert commands == []
    for bus in buses:
        await bus.stop()


async def test_nobody_listens_and_nothing_is_kept(amqp_url: str) -> None:
    async with members(amqp_url, 1) as (one,):
        await consuming(one.bus)
        await one.bus.publish(COMMAND)
        await next_of(one)
    sender = RabbitCommandBus(amqp_url, name="test", on_command=lambda _: None)
    await sender.publish(COMMAND)
    await sender.stop()
    async with members(amqp_url, 1) as (late,):
        await consuming(late.bus)
        await late.bus.publish(DrainCommand("boot-3"))
        assert await next_of(late) == DrainCommand("boot-3"), "what was sent before is gone"


@pytest.mark.parametrize("body", [b"", b"garbage", b"\x81\xa4type\xa4kill", b"x" * 100_000])
async def test_what_is_no_command_is_ignored(amqp_url: str, body: bytes) -> None:
    async with members(amqp_url, 1) as (one,):
        await consuming(one.bus)
        foreign = BrokerConnection(amqp_url, name="foreign")
        channel = await foreign.open_channel()
        exchange = await channel.get_exchange(COMMANDS_EXCHANGE)
        await exchange.publish(aio_pika.Message(body), routing_key="")
        await one.bus.publish(COMMAND)
        assert await next_of(one) == COMMAND
        assert one.bus.is_consuming
        await foreign.drop()


async def test_a_queue_that_is_deleted_is_made_again(amqp_url: str) -> None:
    async with members(amqp_url, 1) as (one,):
        await consuming(one.bus)
        queue = one.bus._consumer.queue
        assert queue is not None
        await queue.delete(if_unused=False, if_empty=False)
        await until(lambda: one.bus._consumer.queue is not queue)
        await consuming(one.bus)
        await one.bus.publish(COMMAND)
        assert await next_of(one) == COMMAND


async def test_a_channel_that_is_closed_is_made_again(amqp_url: str) -> None:
    async with members(amqp_url, 1) as (one,):
        await consuming(one.bus)
        assert one.bus._consumer.channel is not None
        await one.bus._consumer.channel.close()
        await consuming(one.bus)
        await one.bus.publish(COMMAND)
        assert await next_of(one) == COMMAND


async def test_an_exchange_that_is_deleted_is_made_again_with_its_bindings(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.broker.rabbitmq.consumer_state.LOOK_EVERY_S", 0.1)
    async with members(amqp_url, 2) as made:
        await consuming(*(one.bus for one in made))
        admin = await aio_pika.connect(amqp_url)
        await (await admin.channel()).exchange_delete(COMMANDS_EXCHANGE)
        await admin.close()
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    await made[0].bus.publish(COMMAND)
                    async with asyncio.timeout(0.5):
                        assert [await one.arrived.get() for one in made] == [COMMAND] * 2
                    return
                except (BrokerError, TimeoutError):
                    for one in made:
                        while not one.arrived.empty():
                            one.arrived.get_nowait()


@pytest.mark.parametrize("turns", range(12))
async def test_without_a_broker_it_says_so_and_stops_at_once(turns: int) -> None:
    bus = RabbitCommandBus("amqp://guest:guest@127.0.0.1:1/", name="test", on_command=lambda _: None)
    with pytest.raises(BrokerError):
        await bus.publish(COMMAND)
    await bus.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    assert not bus.is_consuming
    # Whatever the connection was about to do: it must not swallow the end.
    async with asyncio.timeout(2.0):
        await bus.stop()


async def test_a_cancel_finds_the_worker_at_another_gateway(amqp_url: str) -> None:
    """Two gateways; the worker is connected to the second, and the first is told to cancel."""

    class Nobody:
        def report(self, *_: object) -> None: ...
        def progress(self, *_: object) -> None: ...

    lines, buses = [], []
    channels = [WorkerChannel(Nobody(), boot=f"g{n}", secret=SECRET) for n in range(2)]
    for channel in channels:
        line = CommandRouter(channel)
        bus = RabbitCommandBus(amqp_url, name="test", on_command=line.take)
        line.attach(bus)
        await bus.start()
        lines.append(line)
        buses.append(bus)
    await consuming(*buses)
    arrived: asyncio.Queue[object] = asyncio.Queue()
    try:
        async with web_server(Starlette(routes=channels[1].routes())) as server:
            reporter = Reporter(
                [GatewayUrl("ws", HOST, server.port)],
                SECRET,
                hello=lambda n: hello_of(boot="boot-1", worker="w", kinds=[], version="1", slots=1, stream=n),
                on_command=arrived.put_nowait,
            )
            await reporter.start()
            await until(lambda: reporter.problem is None)
            async with asyncio.timeout(WITHIN_S):
                lines[0].cancel("boot-1", UUID(int=7), 3)
                assert await arrived.get() == Cancel([JobAttempt(UUID(int=7), 3)])
            await reporter.stop()
    finally:
        for line in lines:
            await line.stop()
        for bus in buses:
            await bus.stop()


async def test_commands_survive_a_restart_of_the_broker(servers: Servers) -> None:
    private = servers.private
    async with members(servers.amqp_url, 2) as made:
        await consuming(*(one.bus for one in made))
        await asyncio.to_thread(private.kill, "rabbitmq")
        await asyncio.to_thread(private.restart, "rabbitmq")
        async with asyncio.timeout(60):
            while True:
                try:
                    await made[0].bus.publish(COMMAND)
                    async with asyncio.timeout(0.5):
                        assert [await one.arrived.get() for one in made] == [COMMAND] * 2
                    return
                except (BrokerError, TimeoutError):
                    # Both have to be back before one command can reach both.
                    for one in made:
                        while not one.arrived.empty():
                            one.arrived.get_nowait()
