"""The private servers and their supervisor: what dies comes back, and nothing is left behind."""

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import aio_pika
import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import OperationFailure

from acked_common.accounts.grants import Account
from acked_common.store.mongo.replica_set import ensure_single_member
from deploy.native.layout import Ports
from deploy.native.packages import Servers
from deploy.native.restarts import restarts
from deploy.native.servers import PrivateServers
from deploy.native.stack import Stack, StackError, free_port_base
from support.mongod import running_mongod
from support.stacks import eventually, gone, refuses

SERVERS = {"epmd", "mongod", "rabbitmq"}
QUEUE = "kept"
# 127.0.0.1 and ::1, as /proc writes them.
LOOPBACK = {"0100007F", "0" * 24 + "01000000"}
KEPT = WriteConcern("majority", j=True)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    # A space, as a user's folder may have.
    with PrivateServers(tmp_path_factory.mktemp("private servers"), free_port_base()) as started:
        yield started


def client(servers: PrivateServers) -> "MongoClient[dict[str, object]]":
    return MongoClient(servers.mongo_url, serverSelectionTimeoutMS=20_000)


def ports(stack: Stack) -> list[int]:
    found = stack.layout.ports
    return [found.mongod, found.amqp, found.epmd, found.erlang]


def listeners(stack: Stack) -> set[tuple[int, str]]:
    """The ports and addresses that the processes of a stack listen on, as /proc has them."""
    inodes = {
        str(descriptor.readlink())
        for pid in stack.parts.processes()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir()
        if descriptor.is_symlink()
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    return {
        (int(row[1].rsplit(":", 1)[1], 16), row[1].rsplit(":", 1)[0])
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
    }


async def test_both_answer_and_listen_on_loopback_alone(servers: PrivateServers) -> None:
    with client(servers) as mongo:
        hello = mongo.admin.command("hello")
        assert (hello["setName"], hello["isWritablePrimary"]) == ("acked", True)
        options = mongo.admin.command("getCmdLineOpts")["parsed"]
        assert options["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"] == 1
        assert options["security"]["javascriptEnabled"] is False
    async with await aio_pika.connect(servers.amqp_url) as connection:
        assert not connection.is_closed
    heard = listeners(servers.stack)
    assert {port for port, _ in heard} == set(ports(servers.stack))
    assert {address for _, address in heard} <= LOOPBACK


def test_mongod_has_the_fix_of_cve_2025_14847(servers: PrivateServers) -> None:
    with client(servers) as mongo:
        version = mongo.server_info()["version"]
    assert tuple(map(int, version.split("."))) >= (6, 0, 27), version


def test_mongod_of_another_version_is_replaced(tmp_path: Path) -> None:
    unpacked = Servers(tmp_path / "servers")
    unpacked.mongod.parent.mkdir(parents=True)
    # As versions before left it: a program, and no word of which one.
    unpacked.mongod.write_text("#!/bin/sh\necho db version v6.0.5\n")
    unpacked.mongod.chmod(0o755)
    unpacked.ensure(mongod=True, rabbitmq=False)
    environ = {**os.environ, "LD_LIBRARY_PATH": unpacked.library_path}
    done = subprocess.run([unpacked.mongod, "--version"], env=environ, capture_output=True, text=True, check=True)
    assert "6.0.27" in done.stdout
    inode = unpacked.mongod.stat().st_ino
    unpacked.ensure(mongod=True, rabbitmq=False)
    assert unpacked.mongod.stat().st_ino == inode, "one of the wanted version stays"


def test_mongod_wants_a_password(servers: PrivateServers) -> None:
    port = servers.stack.layout.ports.mongod
    with MongoClient[dict[str, object]](f"mongodb://127.0.0.1:{port}/?directConnection=true") as nobody:
        with pytest.raises(OperationFailure, match="requires authentication"):
            nobody["acked"]["tokens"].insert_one({"minted": True})
        with pytest.raises(OperationFailure, match="requires authentication"):
            nobody.admin.command("createUser", "intruder", pwd="intruder", roles=["root"])
    secrets = servers.stack.layout.secrets
    with MongoClient[dict[str, object]](
        f"mongodb://127.0.0.1:{port}/?directConnection=true",
        username="intake",
        password=(secrets / "mongo-intake").read_text(),
        authSource="acked",
    ) as intake:
        assert intake["acked"]["tokens"].find_one({}) is None
        with pytest.raises(OperationFailure, match="not authorized"):
            intake["acked"]["tokens"].insert_one({"minted": True})


@pytest.mark.long
def test_data_of_a_version_without_accounts_is_taken_over(tmp_path: Path) -> None:
    """Data without accounts opens, on another port too; a start that was cut off is made up for."""
    servers = PrivateServers(tmp_path, free_port_base())
    layout = servers.stack.layout
    layout.mongo_data.parent.mkdir(parents=True)
    elsewhere = Ports(free_port_base()).mongod
    with running_mongod(layout.mongo_data.parent, elsewhere, with_accounts=False, data="mongo") as member:
        ensure_single_member(member, within_s=40)
        with MongoClient[dict[str, object]](f"mongodb://{member}/?directConnection=true") as mongo:
            mongo["acked"]["rows"].with_options(write_concern=KEPT).insert_one({"n": 7})
    with servers, client(servers) as mongo:
        assert mongo["acked"]["rows"].count_documents({"n": 7}) == 1
        found = mongo.admin.command("usersInfo", {"forAllDBs": True})["users"]
        assert {user["user"] for user in found} == {"acked-admin", *Account}
        with (
            MongoClient[dict[str, object]](
                f"mongodb://127.0.0.1:{layout.ports.mongod}/?directConnection=true"
            ) as nobody,
            pytest.raises(OperationFailure),
        ):
            nobody["acked"]["rows"].count_documents({})
    # Made again where the first start was cut off before its end.
    (layout.mongo_data / "acked-accounts").unlink()
    with servers, client(servers) as mongo:
        mongo.admin.command("createUser", "of the owner", pwd="of the owner", roles=["readAnyDatabase"])
    with servers, client(servers) as mongo:
        names = {user["user"] for user in mongo.admin.command("usersInfo", {"forAllDBs": True})["users"]}
        assert names == {"acked-admin", "of the owner", *Account}, "an account that the owner makes later stays"


async def test_the_broker_wants_its_own_password(servers: PrivateServers) -> None:
    port = servers.stack.layout.ports.amqp
    for user, password in (("guest", "guest"), ("acked", "acked"), ("acked", ""), ("worker", ""), ("worker", "worker")):
        with pytest.raises(aio_pika.exceptions.AMQPException):
            await aio_pika.connect(f"amqp://{user}:{password}@127.0.0.1:{port}/")


def test_secrets_are_their_owner_s_alone(servers: PrivateServers) -> None:
    layout = servers.stack.layout
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700
    secret = (layout.secrets / "amqp").read_text()
    assert secret in servers.amqp_url
    for file in [*layout.secrets.iterdir(), layout.rabbit_home / ".erlang.cookie", layout.conf / "rabbitmq.conf"]:
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_second_start_changes_nothing(servers: PrivateServers) -> None:
    before = servers.stack.parts.pids()
    assert before.keys() == SERVERS
    assert all(before.values())
    servers.start()
    assert servers.stack.parts.pids() == before


def test_a_stack_that_is_up_keeps_its_ports(servers: PrivateServers) -> None:
    before = servers.stack.parts.pids()
    moved = PrivateServers(servers.stack.layout.state, servers.stack.layout.ports.base + 10)
    with pytest.raises(StackError, match=f"ACKED_PORT_BASE={servers.stack.layout.ports.base}"):
        moved.start()
    assert servers.stack.parts.pids() == before


@pytest.mark.parametrize("part", sorted(SERVERS))
async def test_what_is_killed_comes_back_with_its_data(servers: PrivateServers, part: str) -> None:
    with client(servers) as mongo:
        mongo["kept"]["rows"].with_options(write_concern=KEPT).insert_one({"part": part})
    async with await aio_pika.connect(servers.amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(part.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, QUEUE)

    killed = servers.stack.parts.kill(part)
    eventually(lambda: servers.stack.parts.pid(part) not in (0, killed), within_s=20, what=f"a new {part} runs")
    servers.start()

    assert restarts(servers.stack.layout)[part] >= 1
    with client(servers) as mongo:
        assert mongo["kept"]["rows"].count_documents({"part": part}) == 1
    assert await taken_from_queue(servers) == part.encode()


async def taken_from_queue(servers: PrivateServers) -> bytes:
    """A message that the queue has kept."""
    async with asyncio.timeout(40):
        while True:
            async with await aio_pika.connect(servers.amqp_url) as connection:
                queue = await (await connection.channel()).get_queue(QUEUE)
                # A broker that has just started loses a get that comes before the queue has a leader.
                with suppress(TimeoutError):
                    kept = await queue.get(timeout=5)
                    assert kept is not None
                    await kept.ack()
                    return kept.body


def test_a_paused_server_stays_away_until_it_is_started(servers: PrivateServers) -> None:
    port = servers.stack.layout.ports.mongod
    servers.pause("mongod")
    assert refuses(port)
    assert servers.stack.parts.pids()["mongod"] == 0
    servers.restart("mongod")
    with client(servers) as mongo:
        assert mongo.admin.command("hello")["isWritablePrimary"]


def test_two_stacks_live_side_by_side_and_one_ends_alone(servers: PrivateServers, tmp_path: Path) -> None:
    before = servers.stack.parts.processes()
    with PrivateServers(tmp_path, free_port_base()) as second:
        assert not set(second.stack.parts.processes()) & set(before)
        with client(second) as other, client(servers) as mongo:
            assert other["kept"]["rows"].count_documents({}) == 0
            assert mongo.admin.command("ping")["ok"] == 1
    gone(second.stack)
    assert servers.stack.parts.pids().keys() == SERVERS
    assert set(servers.stack.parts.pids().values()) <= set(before)


@pytest.mark.long
def test_data_moves_to_other_ports_and_stop_leaves_nothing(tmp_path: Path) -> None:
    with PrivateServers(tmp_path, free_port_base()) as first, client(first) as mongo:
        mongo["kept"]["rows"].with_options(write_concern=KEPT).insert_one({"n": 7})
    gone(first.stack)
    first.stop()
    with PrivateServers(tmp_path, free_port_base()) as second, client(second) as mongo:
        assert second.mongo_url != first.mongo_url
        assert mongo["kept"]["rows"].count_documents({"n": 7}) == 1
    gone(second.stack)


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        base = free_port_base()
        taken.bind(("127.0.0.1", Ports(base).epmd))
        taken.listen()
        servers = PrivateServers(tmp_path, base)
        with pytest.raises(StackError, match=rf"port {Ports(base).epmd} for epmd is taken by .*pid {os.getpid()}\)"):
            servers.start()
        assert servers.stack.parts.processes() == {}
        assert not refuses(Ports(base).epmd), "what took the port is left alone"


def test_a_server_that_can_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    servers = PrivateServers(tmp_path, free_port_base())
    servers.stack.layout.mongo_data.mkdir(parents=True)
    (servers.stack.layout.mongo_data / "storage.bson").write_bytes(b"no data of MongoDB" * 100)
    try:
        with pytest.raises(StackError) as failure:
            servers.start()
        assert servers.stack.parts.processes() == {}
    finally:
        servers.stop()
    text = str(failure.value)
    assert text.startswith("mongod failed: it exits right after its start")
    assert str(servers.stack.layout.logs / "mongod.log") in text
    assert "storage engine metadata file" in text
