"""The mailbox of a loop: callbacks in order, many with one wake-up."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from acked_worker.durable.mailbox import Mailbox

VALUE: ContextVar[str] = ContextVar("value", default="none")


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the wake-ups from other threads."""

    wake_ups = 0

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run(loop: CountingLoop) -> None:
    """Run what is due."""
    loop.run_until_complete(asyncio.sleep(0))


def test_callbacks_run_in_order_with_one_wake_up() -> None:
    loop, seen = CountingLoop(), list[int]()
    mailbox = Mailbox(loop)
    for number in range(5):
        mailbox.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    assert seen == []
    run(loop)
    assert (seen, loop.wake_ups) == ([0, 1, 2, 3, 4], 1)
    mailbox.post(lambda: seen.append(5))
    run(loop)
    assert (seen[-1], loop.wake_ups) == (5, 2)
    loop.close()


def test_what_a_callback_posts_runs_later() -> None:
    loop, seen = CountingLoop(), list[str]()
    mailbox = Mailbox(loop)

    def first() -> None:
        mailbox.post(lambda: seen.append("posted"))
        seen.append("first")

    mailbox.post(first)
    mailbox.post(lambda: seen.append("second"))
    run(loop)
    run(loop)
    assert seen == ["first", "second", "posted"]
    loop.close()


def test_callback_that_raises_leaves_the_others_to_run() -> None:
    loop, seen, errors = CountingLoop(), list[str](), list[object]()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    mailbox = Mailbox(loop)
    error = ValueError("broken")

    def broken() -> None:
        raise error

    mailbox.post(broken)
    mailbox.post(lambda: seen.append("second"))
    run(loop)
    run(loop)
    assert (seen, errors) == (["second"], [error])
    loop.close()


def test_callbacks_do_not_see_variables_of_the_caller() -> None:
    loop, seen = CountingLoop(), list[str]()
    token = VALUE.set("caller")
    Mailbox(loop).post(lambda: seen.append(VALUE.get()))
    VALUE.reset(token)
    run(loop)
    assert seen == ["none"]
    loop.close()


def test_closed_loop_is_refused_even_while_a_run_is_due() -> None:
    loop = CountingLoop()
    mailbox = Mailbox(loop)
    mailbox.post(lambda: None)
    loop.close()
    with pytest.raises(RuntimeError):
        mailbox.post(lambda: None)
