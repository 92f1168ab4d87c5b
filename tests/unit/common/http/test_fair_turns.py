"""Places are never lost and never given twice, and each client has its turn."""

import asyncio
import random

import pytest

from acked_common.http.fair_turns import FairTurns
from support.parts import settle


async def test_clients_get_places_in_turn() -> None:
    turns: FairTurns[str] = FairTurns(1)
    served: list[str] = []

    async def work(client: str) -> None:
        async with turns.of(client):
            served.append(client)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work("a")) for _ in range(5)]
    await settle(1)
    tasks += [asyncio.create_task(work(client)) for client in ("b", "b", "c")]
    await asyncio.gather(*tasks)
    # Two of the first client at most were under way when the others came.
    fourth = [place for place, client in enumerate(served) if client == "a"][3]
    assert max(served.index("b"), served.index("c")) < fourth, served


@pytest.mark.parametrize("seed", range(20))
async def test_places_survive_clients_that_leave(seed: int) -> None:
    chance = random.Random(seed)
    turns: FairTurns[int] = FairTurns(3)
    at_once = most = 0

    async def work(client: int) -> None:
        nonlocal at_once, most
        async with turns.of(client):
            at_once += 1
            most = max(most, at_once)
            try:
                await settle(chance.randrange(4))
            finally:
                at_once -= 1

    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(work(chance.randrange(4))))
        if chance.random() < 0.4:
            chance.choice(tasks).cancel()
        await settle(chance.randrange(2))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 3 and at_once == 0
    assert turns._free == 3
