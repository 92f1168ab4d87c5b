"""Run a handler with durable calls in a test: virtual time, no server, and the rules of the worker.

async with LongWork(renewal, {"id": 7}) as job:
    await job.until_parked()
    assert job.waits.name == "cool-off"
    await job.advance(days=30)
    await job.signal("paid", 100)
    assert job.result == {"paid": 100}
    assert job.steps == ["quote", "charge"]
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any

import msgspec

from acked import json_values
from acked.definition import KindDefinition, KindOptions, define, with_payload_type
from acked.payloads import PayloadRefused, UntypedPayload
from acked.registration import registry
from acked.testing.clock import VirtualClock, duration
from acked.testing.job_view import JobView
from acked.testing.kit_job import KitJob, kind_record
from acked.testing.life import LIFE, Life
from acked.testing.tasks import noting_tasks
from acked.testing.world import Points, World
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import Waits
from acked_common.outcomes.outcome import (
    NULL,
    Ending,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    TimedOut,
    raised,
    returned,
    timed_out,
)
from acked_common.outcomes.payload import typed_payload

MAX_RESULT_BYTES = 1 << 20
MOST_ATTEMPTS = 100_000
PARK_OVER_S = 10.0
GRACE_S = 2.0


class LongWork(JobView):
    """One job with durable calls. Use it as an asynchronous context manager; its methods run the handler.

    Attempts run one after another on the loop of the test, plain `def` handlers in threads. The clock is virtual: only
    `advance` moves it, and waits too short to park. Timeouts, `asyncio.sleep` and threads take real time.
    `options` are those of the handler's registration, if it has one.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        payload: Any = None,
        *,
        options: KindOptions | None = None,
        kills: Collection[int] = (),
        park_over_s: float = PARK_OVER_S,
    ) -> None:
        self._kind = kind_of(handler, options)
        self._payload = json_values.encode(_sent(payload, self._kind))
        self._clock = VirtualClock()
        super().__init__(KitJob(self._payload, self._clock))
        self._points = Points(kills)
        self._park_over_s = park_over_s
        self._world: World | None = None
        self._lives: list[Life] = []
        self._signals = 0
        self._changes: dict[int, Callable[[Any, Any], Any]] = {}
        self.parks: list[str] = []
        """The waits for which it parked, in order, such as "sleep cool-off"."""
        self._is_running = False
        self._open = ExitStack()

    async def __aenter__(self) -> "LongWork":
        loop = asyncio.get_running_loop()
        self._open.enter_context(noting_tasks(loop))
        self._world = World(
            self._kind, self._clock, self._job, self._points, self._park_over_s, Counter(), self._asked, [], {}
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for life in self._lives:
            await life.close()
        self._open.close()

    @property
    def world(self) -> World:
        """What was seen of the job: effects of steps, and the points at which it can be killed."""
        return self._here

    @property
    def now(self) -> datetime:
        """The instant of the virtual clock."""
        return self._clock.now()

    # What happens to it.

    async def until_parked(self) -> None:
        """Run attempts until the job is parked or has ended. Back-offs between attempts pass at once."""
        while True:
            await self._run_queued()
            due_at = self._job.next_at
            if self._job.state is not State.SCHEDULED or due_at is None:
                return
            self._clock.move_to(due_at)
            self._job.become_due()

    async def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Let time pass, and run the job whenever a wait or a back-off ends meanwhile."""
        until_at = self.now + duration(days=days, hours=hours, minutes=minutes, seconds=seconds)
        await self._run_queued()
        while (due_at := self._job.next_at) is not None and due_at <= until_at:
            self._clock.move_to(due_at)
            self._job.become_due()
            await self._run_queued()
        self._clock.move_to(until_at)

    async def signal(self, name: str, value: Any = None, id: str | None = None) -> None:  # noqa: A002 - as in the API
        """Send a signal, and run the job if that wakes it. The same id again changes nothing.

        A job that has not begun is not run, and one that runs takes the signal by itself. Raise `SignalRefused` for a
        job that has ended.
        """
        self.send(name, value, id)
        if self._job.attempt and not self._is_running:
            await self.until_parked()

    def send(self, name: str, value: Any = None, id: str | None = None) -> None:  # noqa: A002 - as in the API
        """Send a signal without running the job: for signals that arrive while it runs."""
        self._signals += 1
        self._job.send(id or f"signal-{self._signals}", name, json_values.encode(value))
        self._clock.signal_arrived()

    def when_recorded(
        self,
        step: str,
        name: str,
        value: Any = None,
        id: str | None = None,  # noqa: A002 - as in the API
    ) -> None:
        """Send a signal as soon as a step is recorded, while the job runs; `step` is its identity, `name` or
        `name[key]`."""
        self._here.after.setdefault(step, []).append(partial(self.send, name, value, id))

    def replace_handler(self, handler: Callable[[Any, Any], Any], options: KindOptions | None = None) -> None:
        """Use another handler from the next attempt on, as after a deployment."""
        self._here.kind = self._kind = kind_of(handler, options)

    def replace_handler_at_park(self, park: int, handler: Callable[[Any, Any], Any]) -> None:
        """Use another handler once the job has parked so many times."""
        self._changes[park] = handler

    # Attempts.

    async def _run_queued(self) -> None:
        self._is_running = True
        try:
            while self._job.state is State.QUEUED:
                if self._job.attempt >= MOST_ATTEMPTS:
                    raise AssertionError(f"the job did not come to rest within {MOST_ATTEMPTS:,} attempts")
                await self._attempt()
        finally:
            self._is_running = False

    async def _attempt(self) -> None:
        self._asked.clear()
        claimed = self._job.claim()
        life = Life(self._here, claimed)
        self._lives.append(life)
        ending = await self._ending_of(life)
        if ending is None or self._points.is_killed_at("parking" if isinstance(ending, Parked) else "ending"):
            life.kill()
            self._job.lose_worker()
            return
        await life.close()
        self._lives.remove(life)
        self._job.record(ending, claimed, kind_record(self._kind))
        if self.waits is not None:
            self.parks.append(f"{self.waits.call} {self.waits.name}")
            if (changed := self._changes.get(len(self.parks))) is not None:
                self.replace_handler(changed)

    async def _ending_of(self, life: Life) -> Ending | None:
        """Return the ending of an attempt; None if it was killed."""
        variables = copy_context()
        variables.run(LIFE.set, life)
        body = _run_async(life, self._payload) if self._kind.is_async else _run_in_thread(life, self._payload)
        life.main = asyncio.get_running_loop().create_task(body, context=variables)
        life.tasks.append(life.main)
        killed = asyncio.create_task(life.killed.wait())
        limit_s = self._kind.options.timeout_s
        try:
            await asyncio.wait({life.main, killed}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            killed.cancel()
        if life.is_dead:
            return None
        if not life.main.done():
            await _stop(life)
            ending: Ending = timed_out(limit_s)
        else:
            ending = life.main.result()
        parked = life.engine.parked
        if life.engine.is_lost:
            return Interrupted(InterruptReason.LEASE_LOST)
        if parked is not None:
            return Parked(Waits(parked.call, parked.name, parked.until_at, parked.signals), parked.in_seq)
        if self._job.ledger.now is not None and isinstance(ending, Failed | TimedOut):
            return replace(ending, progressed_at_failures=self._job.ledger.now.progressed_at_failures)
        return ending

    @property
    def _here(self) -> World:
        if self._world is None:
            raise RuntimeError("use LongWork as a context manager: `async with LongWork(handler, payload) as job`")
        return self._world


def kind_of(handler: Callable[[Any, Any], Any], options: KindOptions | None = None) -> KindDefinition:
    """Return the kind of a handler: as it is registered, or with the usual options."""
    known = [kind for kind in registry.values() if kind.function is handler] if options is None else []
    kind = known[0] if known else define("test", handler, options or KindOptions())
    try:
        return with_payload_type(kind)
    except UntypedPayload:
        # As in a worker: the handler gets the decoded JSON.
        return kind


def _sent(payload: Any, kind: KindDefinition) -> Any:
    """Return `{}` for None, as of a request without a payload, if the handler has a type that does not take null."""
    if payload is None and kind.payload is not None:
        try:
            kind.payload.convert(None)
        except PayloadRefused:
            return {}
    return payload


async def _run_async(life: Life, payload: bytes) -> Ending:
    try:
        typed = typed_payload(life.world.kind, msgspec.json.decode(payload))
        value = await life.world.kind.function(life.context, typed)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return _ending_of_error(life, error)
    return returned(value, MAX_RESULT_BYTES)


async def _run_in_thread(life: Life, payload: bytes) -> Ending:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ending] = loop.create_future()
    context = life.context

    def run() -> None:
        life.thread_id = threading.get_ident()
        try:
            typed = typed_payload(life.world.kind, msgspec.json.decode(payload))
            ending: Ending = returned(life.world.kind.function(context, typed), MAX_RESULT_BYTES)
        except BaseException as error:
            ending = _ending_of_error(life, error)
        loop.call_soon_threadsafe(_resolve, ended, ending)

    variables = copy_context()
    # A thread that a kill leaves behind must not keep the tests from ending.
    threading.Thread(target=variables.run, args=(run,), name="acked-long-work", daemon=True).start()
    return await ended


def _ending_of_error(life: Life, error: BaseException) -> Ending:
    # The ending of a parked attempt is read from its engine; formatting a traceback takes most of its time.
    return NULL if life.engine.parked is not None else raised(error)


def _resolve(ended: "asyncio.Future[Ending]", ending: Ending) -> None:
    if not ended.done():
        ended.set_result(ending)


async def _stop(life: Life) -> None:
    """Stop an attempt whose timeout is over."""
    life.asked_to_stop = True
    life.engine.turns.stop()
    if life.main is not None:
        life.main.cancel()
        await asyncio.wait({life.main}, timeout=GRACE_S)
