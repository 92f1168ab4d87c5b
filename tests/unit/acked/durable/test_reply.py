"""The reply to ledger work: it survives the cancel of an await."""

import asyncio

import pytest

from acked.durable.reply import Reply


async def wait_for(reply: Reply[int]) -> int:
    return await reply


async def test_settled_reply_returns_at_once_and_again() -> None:
    reply: Reply[int] = Reply(asyncio.get_running_loop())
    reply.settle(7)
    assert (await reply, await reply) == (7, 7)


async def test_cancelled_await_leaves_the_outcome_to_the_next_one() -> None:
    reply: Reply[int] = Reply(asyncio.get_running_loop())
    first = asyncio.create_task(wait_for(reply))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(wait_for(reply))
    await asyncio.sleep(0)
    assert not (reply.is_cancelled or second.done())
    reply.settle(7)
    assert await second == 7


async def test_only_the_first_outcome_counts() -> None:
    reply: Reply[int] = Reply(asyncio.get_running_loop())
    reply.fail(ValueError("first"))
    reply.settle(7)
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            await reply


async def test_reply_of_a_task_has_its_outcome() -> None:
    async def broken() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await Reply.of(asyncio.create_task(broken()))
    assert await Reply.of(asyncio.create_task(asyncio.sleep(0, 7))) == 7
    hanging: asyncio.Task[int] = asyncio.create_task(asyncio.sleep(3600, 7))
    reply = Reply.of(hanging)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reply
    assert reply.is_cancelled


async def test_cancel_of_an_await_does_not_cancel_the_task() -> None:
    may_end = asyncio.Event()

    async def work() -> int:
        await may_end.wait()
        return 7

    reply = Reply.of(asyncio.create_task(work()))
    first = asyncio.create_task(wait_for(reply))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    may_end.set()
    assert await reply == 7
