"""Two databases on one virtual host of RabbitMQ: each gateway notices the other, and forgets it when it is gone."""

import pytest

from acked_common.broker import BrokerError
from acked_common.channel.commands import CancelCommand, DatabaseNotice, decode_command, encode_command
from acked_common.channel.frames import JobAttempt
from acked_common.model.ids import new_id
from acked_common.store.errors import StoreUnavailable
from acked_gateway.workers.shared_host import FIRST_EVERY_S, FORGOTTEN_AFTER_S, MOST_OTHERS, NOTICE_EVERY_S, SharedHost
from support.factories import ManualClock
from support.parts import ShakyStore


class Bus:
    """The fan-out of one virtual host: what one gateway publishes reaches all, itself included."""

    def __init__(self) -> None:
        self.hosts: list[SharedHost] = []
        self.published: list[DatabaseNotice] = []
        self.failure: BrokerError | None = None

    async def publish(self, command: DatabaseNotice) -> None:
        if self.failure is not None:
            raise self.failure
        self.published.append(command)
        for host in self.hosts:
            host.take(command)


class Gateway:
    """One gateway of a database."""

    def __init__(self, bus: Bus, clock: ManualClock, store: ShakyStore, name: str) -> None:
        self.store = store
        self.host = SharedHost(store, name, clock.monotonic)
        self.host.attach(bus)
        bus.hosts.append(self.host)


class Bench:
    """Gateways on one bus."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bus = Bus()

    async def gateway(self, name: str, store: ShakyStore | None = None, *, with_schema: bool = True) -> Gateway:
        store = store or ShakyStore(self.clock)
        if with_schema:
            await store.ensure_schema()
        return Gateway(self.bus, self.clock, store, name)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_each_of_two_databases_notices_the_other(bench: Bench) -> None:
    first = await bench.gateway("acked")
    await first.host.tick()
    assert first.host.problem is None
    second = await bench.gateway("staging")
    await second.host.tick()
    # The first learns of the second, and responds with its next tick.
    assert "'staging'" in (first.host.problem or "")
    await first.host.tick()
    assert "'acked'" in (second.host.problem or "")
    assert "virtual host of its own" in (second.host.problem or "")


async def test_gateways_of_one_database_are_no_problem(bench: Bench) -> None:
    first = await bench.gateway("acked")
    second = await bench.gateway("acked", first.store)
    for gateway in (first, second, first):
        await gateway.host.tick()
    assert (first.host.problem, second.host.problem) == (None, None)


async def test_database_that_is_gone_is_forgotten(bench: Bench) -> None:
    first, second = await bench.gateway("acked"), await bench.gateway("acked")
    await first.host.tick()
    await second.host.tick()
    assert first.host.problem
    bench.clock.advance(FORGOTTEN_AFTER_S - 1)
    assert first.host.problem
    bench.clock.advance(2)
    assert first.host.problem is None


async def test_notices_are_rare_once_they_arrive(bench: Bench) -> None:
    gateway = await bench.gateway("acked")
    await gateway.host.tick()
    at: list[int] = []
    for second in range(1, 70):
        bench.clock.advance(1)
        before = len(bench.bus.published)
        await gateway.host.tick()
        at += [second] * (len(bench.bus.published) - before)
    assert at == [FIRST_EVERY_S, FIRST_EVERY_S + NOTICE_EVERY_S, FIRST_EVERY_S + 2 * NOTICE_EVERY_S]


async def test_notices_are_repeated_soon_until_one_arrives(bench: Bench) -> None:
    gateway = await bench.gateway("acked")
    bench.bus.failure = BrokerError("away")
    await gateway.host.tick()
    bench.bus.failure = None
    await gateway.host.tick()
    assert bench.bus.published == []
    bench.clock.advance(FIRST_EVERY_S)
    await gateway.host.tick()
    assert len(bench.bus.published) == 1


async def test_database_without_an_id_says_and_notices_nothing(bench: Bench) -> None:
    former = await bench.gateway("acked", with_schema=False)
    other = await bench.gateway("staging")
    await former.host.tick()
    await other.host.tick()
    assert (former.host.problem, other.host.problem) == (None, None)


async def test_store_that_is_away_is_asked_again(bench: Bench) -> None:
    gateway = await bench.gateway("acked")
    gateway.store.failures["database_id"] = [StoreUnavailable("away")]
    with pytest.raises(StoreUnavailable):
        await gateway.host.tick()
    bench.clock.advance(FIRST_EVERY_S)
    await gateway.host.tick()
    assert len(bench.bus.published) == 1


async def test_a_flood_of_ids_is_bounded(bench: Bench) -> None:
    gateway = await bench.gateway("acked")
    await gateway.host.tick()
    for number in range(MOST_OTHERS + 5):
        gateway.host.take(DatabaseNotice(f"id-{number}", "x"))
    assert (gateway.host.problem or "").count("'x'") == MOST_OTHERS


def test_notice_and_commands_share_the_wire() -> None:
    notice = DatabaseNotice("id", "acked")
    cancel = CancelCommand("boot", [JobAttempt(new_id(), 1)])
    assert decode_command(encode_command(notice)) == notice
    assert decode_command(encode_command(cancel)) == cancel
