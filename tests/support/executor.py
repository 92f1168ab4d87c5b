"""A bench for the executor: runs one, records its callbacks, and waits for them with a timeout."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from acked import Kind, KindOptions
from acked.definition import define
from acked_common.model.options import JobOptions
from acked_common.outcomes.outcome import Ending
from acked_worker.execute.executor import Assignment, Executor

BOUND_S = 20.0


def kind(name: str, function: Callable[..., Any]) -> Kind:
    """Return a kind outside the registry."""
    return define(name, function, KindOptions())


def assignment(kind_name: str, id: str = "job", **fields: Any) -> Assignment:  # noqa: A002 - the job's id
    """Return a first attempt with a long timeout; override fields as given."""
    defaults: dict[str, Any] = {"run": 1, "attempt": 1, "failures": 0, "payload": None, "timeout_s": 60.0}
    options = JobOptions(tags=fields.pop("tags", ()))
    return Assignment(id=id, kind=kind_name, options=options, **{**defaults, **fields})


class Bench:
    """An executor with its endings and progress, in order."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[Assignment, Ending]]] = []
        self.endings: list[tuple[Assignment, Ending]] = []
        self.progress: list[tuple[str, int, object]] = []
        self.timeline: list[tuple[str, object]] = []
        self.callback_threads: set[int] = set()
        self.raise_once: Exception | None = None
        self._changed = asyncio.Event()
        self.executor: Executor

    def build(self, kinds: Iterable[Kind], **options: Any) -> None:
        """Build the executor."""
        by_name = {one.name: one for one in kinds}
        self.executor = Executor(by_name, on_ended=self._on_ended, on_progress=self._on_progress, **options)

    def start(self, *kinds: Kind, **options: Any) -> None:
        """Build and start the executor."""
        self.build(kinds, **options)
        self.executor.start()

    def submit(self, *assignments: Assignment) -> None:
        """Submit assignments."""
        self.executor.submit(assignments)

    def run_out_of_time(self, *ids: str) -> None:
        """Lets the deadline of first attempts pass now, however long their timeout is.

        A short timeout may pass before the handler begins: on a busy machine it tests something else.
        """
        for id_ in ids:
            self.executor._live[id_, 1].due = 0.0
        self.executor._watch.at(0.0)

    def _on_ended(self, batch: list[tuple[Assignment, Ending]]) -> None:
        self.callback_threads.add(threading.get_ident())
        self.batches.append(batch)
        self.endings.extend(batch)
        self.timeline.extend((one.id, "end") for one, _ in batch)
        self._changed.set()
        error, self.raise_once = self.raise_once, None
        if error is not None:
            raise error

    def _on_progress(self, batch: list[tuple[str, int, object]]) -> None:
        self.callback_threads.add(threading.get_ident())
        self.progress.extend(batch)
        self.timeline.extend((id_, progress) for id_, _, progress in batch)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], bound_s: float = BOUND_S) -> None:
        """Wait until the condition holds, checked after each callback and on a short tick."""
        async with asyncio.timeout(bound_s):
            while not condition():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def all_ended(self, count: int) -> None:
        """Wait for `count` endings."""
        await self.until(lambda: len(self.endings) >= count)

    async def ending(self, id: str = "job", attempt: int = 1) -> Ending:  # noqa: A002 - the job's id
        """Wait for the ending of an attempt."""
        await self.until(lambda: bool(self.found(id, attempt)))
        return self.found(id, attempt)[0]

    def found(self, id: str, attempt: int = 1) -> list[Ending]:  # noqa: A002 - the job's id
        """Return all endings of an attempt so far; more than one is a bug."""
        return [ending for one, ending in self.endings if (one.id, one.attempt) == (id, attempt)]


@asynccontextmanager
async def open_bench() -> AsyncIterator[Bench]:
    """Yield a bench; close its executor at the end and check that no attempt had two endings."""
    made = Bench()
    try:
        yield made
    finally:
        if hasattr(made, "executor"):
            await made.executor.close(1.0)
    ended = [(one.id, one.attempt) for one, _ in made.endings]
    assert len(ended) == len(set(ended)), "an attempt had two endings"
