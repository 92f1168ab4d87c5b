"""What the figure of distance makes of what it has measured."""

import asyncio
import socket
import sys
import time
from pathlib import Path

import pytest

from benchmarks import distance_proxy
from benchmarks.figures.distance import Found, Setting, bars, last_third
from benchmarks.peers_run import free_ports

ROOT = Path(__file__).resolve().parents[3]


def test_the_starts_of_the_last_third_count_and_what_is_missing_is_late() -> None:
    assert last_third([9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, None, 3.0], 4000.0) == (1.0, 4000.0, 3.0)
    assert last_third([5.0], 4000.0) == (5.0,)


def test_bars_take_the_worst_and_compare_with_the_quick_jobs_of_the_same_place() -> None:
    found = {
        Setting(0.0, 1, 10): Found(1.0, (2.0,)),
        Setting(0.0, 1, 120): Found(0.99, (4.0,)),
        Setting(4.0, 1, 10): Found(1.01, (20.0,)),
        Setting(4.0, 1, 120): Found(0.97, (30.0,)),
        Setting(4.0, 1, 500): Found(0.96, (50.0,)),
        Setting(4.0, 3, 500): Found(0.98, (900.0,)),
    }
    done, late = bars(found)
    assert (done.value, done.verdict) == (0.96, "met")
    assert (late.value, late.verdict) == (2.5, "met")
    found[Setting(4.0, 3, 10)] = Found(1.0, (100.0,))
    assert bars(found)[1].verdict == "not met"
    assert [judged.value for judged in bars({})] == [None, None]


def test_ports_differ_from_each_other() -> None:
    assert len(set(free_ports(3))) == 3


async def test_the_proxy_delays_and_keeps_pieces_apart() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    control, port = free_ports(2)
    target = server.sockets[0].getsockname()[1]
    command = (sys.executable, "-m", "benchmarks.distance_proxy", str(control), f"{port}:{target}")
    process = await asyncio.create_subprocess_exec(*command, env={"PYTHONPATH": str(ROOT / "tests")})
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    await asyncio.to_thread(distance_proxy.tell, control, 50.0)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began = time.monotonic()
            for n in range(10):
                writer.write(b"%d" % n)
                await asyncio.sleep(0.005)
            assert await reader.readexactly(10) == b"0123456789"
            took_s = time.monotonic() - began
            # Twice the way; pieces that went one after the other would take ten times as long.
            assert took_s >= 0.1
            writer.close()
            assert await reader.read() == b""
    finally:
        process.kill()
        await process.wait()
        server.close()


def test_a_proxy_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        distance_proxy.tell(free_ports(1)[0], 1.0)
