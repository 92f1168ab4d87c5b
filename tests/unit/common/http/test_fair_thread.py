"""One thread for all clients: each in its turn, whoever leaves, whatever fails."""

import asyncio
import threading

import pytest

from acked_common.http.fair_thread import FairThread

ADA, BOB, EVE = ("acme", "ada"), ("globex", "bob"), None


class Bench:
    """Notes in which order work is done; the first waits until it is let go."""

    def __init__(self) -> None:
        self.thread = FairThread("test")
        self.done: list[str] = []
        self.go_on = threading.Event()

    def hold(self) -> None:
        assert self.go_on.wait(5)

    def begin(self, client: tuple[str, str] | None, name: str) -> asyncio.Task[None]:
        return asyncio.create_task(self.thread.run(client, lambda: self.done.append(name)))


async def test_clients_are_served_in_turn() -> None:
    bench = Bench()
    first = asyncio.create_task(bench.thread.run(ADA, bench.hold))
    await asyncio.sleep(0)
    later = [bench.begin(ADA, f"a{number}") for number in range(4)]
    await asyncio.sleep(0)
    later += [bench.begin(BOB, "b0"), bench.begin(BOB, "b1"), bench.begin(EVE, "e0")]
    await asyncio.sleep(0)
    bench.go_on.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, *later)
    assert bench.done == ["a0", "b0", "e0", "a1", "b1", "a2", "a3"]


async def test_work_of_who_left_is_not_done() -> None:
    bench = Bench()
    first = asyncio.create_task(bench.thread.run(ADA, bench.hold))
    await asyncio.sleep(0)
    left, stays = bench.begin(ADA, "left"), bench.begin(ADA, "stays")
    await asyncio.sleep(0)
    left.cancel()
    first.cancel()
    bench.go_on.set()
    async with asyncio.timeout(5):
        await stays
    assert bench.done == ["stays"]


async def test_an_error_is_its_callers_alone() -> None:
    bench = Bench()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.thread.run(ADA, fail)
    assert await bench.thread.run(ADA, lambda: threading.current_thread()) is not threading.current_thread()


def test_a_loop_that_ended_holds_nothing_up() -> None:
    bench = Bench()

    async def leave() -> None:
        asyncio.create_task(bench.thread.run(ADA, bench.hold))  # noqa: RUF006 - it is left behind
        await asyncio.sleep(0)

    asyncio.run(leave())
    bench.go_on.set()
    asyncio.run(asyncio.wait_for(bench.thread.run(ADA, lambda: None), 5))
