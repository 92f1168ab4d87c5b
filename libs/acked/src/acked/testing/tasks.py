"""Note the tasks that attempts under test start, so that they end with the test."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from acked.testing.life import LIFE


class NotingFactory:
    """A task factory that notes each task in the attempt whose code creates it. It uses the factory before it."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        make = self.before or _make
        task = make(loop, coro, **options)
        life = LIFE.get()
        if life is not None:
            life.tasks.append(task)
        return task


@contextmanager
def noting_tasks(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Note the tasks of attempts on a loop while the body runs. Several tests may share the loop."""
    before = loop.get_task_factory()
    factory = before if isinstance(before, NotingFactory) else NotingFactory(before)
    loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if not factory.users and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.before)


def _make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
    return asyncio.Task(coro, loop=loop, **options)
