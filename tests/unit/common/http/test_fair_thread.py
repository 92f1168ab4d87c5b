"""One thread for all clients: each in its turn, whoever leaves, whatever fails."""

import asyncio
import threading

import pytest

from acked_common.http import fair_thread
from acked_common.http.fair_thread import ON_LOOP_BYTES, FairThread, utf8_size
from acked_common.model.strict_json import SCANNED_ON_LOOP_BYTES, NeedsScan

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


@pytest.mark.parametrize(
    ("size", "is_doubtful", "names"),
    [
        (SCANNED_ON_LOOP_BYTES, True, ["loop"]),
        (SCANNED_ON_LOOP_BYTES + 1, True, ["loop", "slow"]),
        (ON_LOOP_BYTES, False, ["loop"]),
        (ON_LOOP_BYTES + 1, False, ["quick"]),
        (ON_LOOP_BYTES + 1, True, ["quick", "slow"]),
    ],
)
async def test_size_and_doubt_decide_where_a_text_is_parsed(size: int, is_doubtful: bool, names: list[str]) -> None:
    threads: list[threading.Thread] = []

    def parse(may_scan: bool) -> str:
        threads.append(threading.current_thread())
        if is_doubtful and not may_scan:
            raise NeedsScan
        return "value"

    assert await fair_thread.read(ADA, size, parse) == "value"
    quick = await fair_thread.quick.run(ADA, threading.current_thread)
    slow = await fair_thread.slow.run(ADA, threading.current_thread)
    known = {threading.main_thread(): "loop", quick: "quick", slow: "slow"}
    assert [known[thread] for thread in threads] == names


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("abc", 3), ("é", 2), ("\N{GRINNING FACE}" * 10, 40), ("\ud800", 1)]
)
def test_size_of_a_text_is_in_bytes(text: str, size: int) -> None:
    assert utf8_size(text) == size
