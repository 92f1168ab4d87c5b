"""An event loop in virtual time that runs several simulated processes, in an order that its seed decides.

Time stands still while anything can run and then jumps to the next timer. Each line of execution of a process (its
event loop, its handlers' loop) is a strand: its callbacks run first in, first out, as asyncio promises; which strand
runs next is drawn. Processes share nothing but the loop, so every order that comes out could come out of real ones.
A process can be killed or paused between any two steps.
"""

import asyncio
import heapq
import math
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

STRAND: ContextVar["Strand"] = ContextVar("strand")
MOST_STEPS = 1_000_000
LOOK_EVERY_S = 0.2


class Spinning(Exception):
    """The processes did not come to rest: something runs again and again without waiting."""


class Handle:
    """A callback to come; as `asyncio.TimerHandle` to those who hold it."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled", "strand")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, strand: "Strand", when: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self._when = when
        self.is_cancelled = False
        self.strand = strand

    def cancel(self) -> None:
        self.is_cancelled = True
        self.args = ()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class Strand:
    """One line of execution of a process: callbacks in the order in which they became ready."""

    __slots__ = ("is_listed", "is_open", "process", "ready", "task_factory")

    def __init__(self, process: "SimProcess") -> None:
        self.process = process
        self.ready: deque[Handle] = deque()
        self.is_listed = False
        self.is_open: Callable[[], bool] | None = None
        """Whether it may make a step, where something holds it back; it is listed again when that lets go."""
        self.task_factory: Callable[..., asyncio.Task[Any]] | None = None
        """As of an event loop: makes the tasks of this strand."""

    def context(self) -> Context:
        """A context that belongs to this strand, empty but for that."""
        context = Context()
        context.run(STRAND.set, self)
        return context


class SimProcess:
    """A simulated process: it can be killed, and paused and resumed."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.main = Strand(self)
        self.strands = [self.main]
        self.is_paused = False
        self.paused_at = 0.0
        self.stood_still_s = 0.0
        """How long its newest pause took."""
        self.ran_on_since = 0.0
        """When that ended; infinite while it is paused."""
        self.can_run = True
        self.died_at = math.inf
        self.is_of_suspect = False
        """Whether one job runs alone in it."""
        self.on_death: list[Callable[[], None]] = []
        self.fuse = 0
        """Steps until `on_fuse` is called; 0: none is lit."""
        self.on_fuse: Callable[[], None] = lambda: None
        loop.processes.append(self)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed or has ended."""
        return self.died_at < math.inf

    def add_strand(self) -> Strand:
        """One more line of execution."""
        self.strands.append(Strand(self))
        return self.strands[-1]

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Runs a coroutine in this process."""
        return self.loop.create_task(coroutine, context=self.main.context())

    def kill(self) -> None:
        """Ends the process between two steps: nothing of it runs any more, nothing is flushed."""
        if self.is_dead:
            return
        self.died_at = self.loop.time()
        self.can_run = False
        self.fuse = 0
        for callback in self.on_death:
            callback()

    def pause(self) -> None:
        """Freezes the process; time goes on, and what arrives or is due waits."""
        self.is_paused = True
        self.can_run = False
        self.paused_at, self.ran_on_since = self.loop.time(), math.inf

    def resume(self) -> None:
        """Lets it go on with all that has become ready meanwhile."""
        self.is_paused = False
        self.can_run = not self.is_dead
        self.stood_still_s, self.ran_on_since = self.loop.time() - self.paused_at, self.loop.time()
        for strand in self.strands:
            self.loop.list_strand(strand)

    def after_steps(self, steps: int, action: Callable[[], None]) -> None:
        """Calls `action` when the process has made so many more steps."""
        self.fuse, self.on_fuse = steps, action


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks are walked in the same order in each run."""

    def __init__(self, number: int, coroutine: Any, *, context: Context | None, **options: Any) -> None:
        self.number = number
        context = context or copy_context()
        self.process = context[STRAND].process
        super().__init__(coroutine, context=context, **options)

    def __hash__(self) -> int:
        return self.number


def new_task(coroutine: Any, *, loop: "VirtualLoop", **options: Any) -> SimTask:
    """As `asyncio.Task`, for task factories."""
    return loop.new_task(coroutine, **options)


class VirtualLoop(asyncio.AbstractEventLoop):
    """The loop of all processes of one simulation."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random
        self._now = 0.0
        self._timers: list[tuple[float, float, int, Handle | tuple[Callable[..., object], tuple[Any, ...]]]] = []
        self._numbers = 0
        self._runnable: list[Strand] = []
        self.steps = 0
        self.stopped = False
        self.tasks: list[SimTask] = []
        """Every task ever made: a task of a killed process must not be collected, or its `finally` would run."""
        self.errors: list[str] = []
        """What was raised into the loop; there should be nothing."""
        self.processes: list[SimProcess] = []
        self.outside = SimProcess(self, "outside")
        self._current = self.outside.main

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = self._handle(callback, args, context, self._now)
        self._make_ready(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = self._handle(callback, args, context, when)
        self._numbers += 1
        # Timers of one instant fire in any order.
        heapq.heappush(self._timers, (max(when, self._now), self._random(), self._numbers, handle))
        return handle

    def outside_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Something outside of all processes happens `delay` seconds from now: a message arrives."""
        self._numbers += 1
        heapq.heappush(self._timers, (self._now + delay, self._random(), self._numbers, (callback, args)))

    def _handle(self, callback: Any, args: tuple[Any, ...], context: Context | None, when: float) -> Handle:
        if context is None:
            context = copy_context()
        strand = context.get(STRAND)
        if strand is None:
            # Empty on purpose (`call_soon_threadsafe` from the handlers' loop): meant for the process's own loop.
            strand = self._current.process.main
            context.run(STRAND.set, strand)
        return Handle(callback, args, context, strand, when)

    def _make_ready(self, handle: Handle) -> None:
        handle.strand.ready.append(handle)
        self.list_strand(handle.strand)

    def list_strand(self, strand: Strand) -> None:
        """Lets a strand run if it can."""
        if not strand.is_listed and strand.ready and strand.process.can_run:
            strand.is_listed = True
            self._runnable.append(strand)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        context = context or copy_context()
        factory = context[STRAND].task_factory
        if factory is None:
            return self.new_task(coro, name=name, context=context)
        return factory(self, coro, name=name, context=context)

    def new_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "SimTask":
        """Make a task, whatever the factory of its strand."""
        self._numbers += 1
        task = SimTask(self._numbers, coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run(self, until: Callable[[], bool], until_s: float) -> bool:
        """Runs until the condition holds, looked at a few times a second; False where `until_s` came first."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        look_at = self._now
        timers = self._timers
        try:
            while not self.stopped:
                self._run_ready()
                if self._now >= look_at:
                    look_at = self._now + LOOK_EVERY_S
                    if until():
                        return True
                if not timers or timers[0][0] > until_s:
                    self._now = max(self._now, until_s)
                    return until()
                when, _, _, due = heapq.heappop(timers)
                if isinstance(due, tuple):
                    self._now = when
                    self._happen(*due)
                elif not due.is_cancelled:
                    self._now = when
                    self._make_ready(due)
            return False
        finally:
            events._set_running_loop(outer)

    def _happen(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._current = self.outside.main
        callback(*args)

    def _run_ready(self) -> None:
        runnable = self._runnable
        while runnable and not self.stopped:
            index = int(self._random() * len(runnable))
            strand = runnable[index]
            process = strand.process
            if not process.can_run or not strand.ready or (strand.is_open is not None and not strand.is_open()):
                strand.is_listed = False
                runnable[index] = runnable[-1]
                runnable.pop()
                continue
            handle = strand.ready.popleft()
            if handle.is_cancelled:
                continue
            self._current = strand
            self.steps += 1
            try:
                handle.context.run(handle.callback, *handle.args)
            except Exception as error:
                self.errors.append(f"raised into the loop of {process.name}: {error!r}")
            if process.fuse:
                process.fuse -= 1
                if not process.fuse:
                    self._happen(process.on_fuse, ())
            if self.steps > MOST_STEPS:
                raise Spinning(f"{self.steps} steps at {self._now:.3f} s")

    def put_away(self, rounds: int = 50) -> list[str]:
        """Ends all tasks, those of killed processes too, so that the garbage collector finds none to close; answers
        the errors that nobody has looked at."""
        unseen = [
            f"{task.get_name()}: {task.exception()!r}"
            for task in self.tasks
            if task.done() and not task.cancelled() and not task.process.is_dead and task._log_traceback  # type: ignore[attr-defined]
        ]
        self.stopped, self.steps = False, 0
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(rounds):
                pending = [task for task in self.tasks if not task.done()]
                for process in self.processes:
                    process.died_at, process.fuse = math.inf, 0
                    for strand in process.strands:
                        strand.is_open = None
                    process.resume()
                for task in pending:
                    task.cancel()
                if not pending:
                    break
                self._run_ready()
        finally:
            events._set_running_loop(outer)
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()
        return unseen
