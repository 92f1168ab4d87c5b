"""The durable calls of a context: awaitable ones for `async def` handlers, blocking twins for plain `def` handlers."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import msgspec

from acked.durable import waits
from acked.durable.blocking import run_blocking, run_on_loop
from acked.durable.calls import DurableCall
from acked.durable.engine import SCOPE, Engine, StepScope
from acked.durable.errors import DurableError, InvalidStep
from acked.durable.gather import run_gather
from acked.durable.identity import Identity, check_name, identity_of
from acked.durable.port import Call
from acked.durable.step import YEAR_S, Step
from acked.durable.steps import StepRun, keep_checkpoint
from acked.durable.waits import Branch, ReceivedSignal, SignalBranch, TimerBranch

if TYPE_CHECKING:
    from acked.context import Attempt

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_making = Lock()
_NO_LEDGER = (
    "durable calls need a ledger: run the handler in a worker, or in a test with acked.testing.LongWork. "
    "RecordingAttempt has none"
)


class InsideSteps:
    """What the function of a step can read, and the branches of `first`."""

    __slots__ = ("_attempt", "_engine", "_log")

    _attempt: "Attempt"
    _engine: Engine | None

    @property
    def step_key(self) -> str:
        """Inside a step: a key that is the same for all tries, so that external APIs can deduplicate their calls."""
        return f"{self._attempt.id}:{self._scope.identity.text}"

    @property
    def step_try(self) -> int:
        """Inside a step: the number of this try, from 1."""
        return self._scope.tries

    @property
    def last_checkpoint(self) -> Any:
        """Inside a step: the value of the newest `checkpoint` of an earlier try, as plain JSON; None without one."""
        kept = self._scope.checkpoint
        return None if kept is None else msgspec.json.decode(kept)

    def signal(self, name: str) -> SignalBranch:
        """Return a branch of `first`: the oldest unread signal of the name."""
        return SignalBranch(check_name(name, "the name of a signal"))

    def timer(
        self, *, seconds: float | None = None, days: float | None = None, until: datetime | None = None
    ) -> TimerBranch:
        """Return a branch of `first`: a duration from the first call, or an instant with a time zone."""
        return TimerBranch(waits.end_of(seconds, days, until, "a timer"))

    @property
    def _scope(self) -> StepScope:
        scope = SCOPE.get()
        if scope is None or scope.engine is not self._engine:
            raise DurableError("this is known only inside a step: use it in the function that ctx.step runs")
        return scope

    def _durable(self) -> Engine:
        """Return the engine of the attempt, which its contexts share."""
        if self._engine is None:
            ledger = self._attempt.ledger
            if ledger is None:
                raise DurableError(_NO_LEDGER)
            with _making:
                # A plain handler may use its context in several threads.
                self._engine = self._engine or Engine(ledger, self._attempt)
        return self._engine

    # The calls, not begun.

    def _step(
        self, step: str | Step, work: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> DurableCall[Any]:
        engine = self._durable()
        step = step if isinstance(step, Step) else Step(step)
        identity = identity_of(step.name, step.key)
        run = StepRun(engine, step, identity, work, args, dict(kwargs))
        return DurableCall(engine, f"step {identity.text}", run.run, identity, Call.STEP)

    def _sleep(self, identity: Identity, end: timedelta | datetime) -> DurableCall[None]:
        engine = self._durable()
        return DurableCall(
            engine, f"sleep {identity.text}", partial(waits.run_sleep, engine, identity, end), identity, Call.SLEEP
        )

    def _wait_for(self, identity: Identity, within_s: float | None) -> DurableCall[ReceivedSignal]:
        if within_s is not None and (
            isinstance(within_s, bool) or not isinstance(within_s, int | float) or not 0 <= within_s <= YEAR_S
        ):
            raise InvalidStep(f"wait_for: within_s must be 0 to {YEAR_S:.0f} seconds (a year), not {within_s!r}")
        engine = self._durable()
        return DurableCall(
            engine,
            f"wait_for {identity.text}",
            partial(waits.run_wait, engine, identity, within_s),
            identity,
            Call.WAIT,
        )

    def _first(
        self, identity: Identity, branches: Mapping[str, Branch]
    ) -> DurableCall[tuple[str, ReceivedSignal | None]]:
        signals = [branch.name for branch in branches.values() if isinstance(branch, SignalBranch)]
        others = [name for name, one in branches.items() if not isinstance(one, SignalBranch | TimerBranch)]
        if others or not branches:
            raise InvalidStep(
                f"first {identity.text}: give branches such as paid=ctx.signal('paid'), late=ctx.timer(days=1)"
            )
        if len(set(signals)) < len(signals):
            raise InvalidStep(f"first {identity.text}: two branches wait for the same signal")
        engine = self._durable()
        return DurableCall(
            engine, f"first {identity.text}", partial(waits.run_first, engine, identity, branches), identity, Call.FIRST
        )

    def _now(self, identity: Identity) -> DurableCall[datetime]:
        engine = self._durable()
        return DurableCall(engine, f"now {identity.text}", partial(waits.run_now, engine, identity), identity, Call.NOW)

    def _note(self, identity: Identity, value: T) -> DurableCall[T]:
        engine = self._durable()
        return DurableCall(
            engine, f"note {identity.text}", partial(waits.run_note, engine, identity, value), identity, Call.NOTE
        )

    def _gather(self, calls: tuple[DurableCall[Any], ...]) -> DurableCall[tuple[Any, ...]]:
        if not all(isinstance(call, DurableCall) for call in calls):
            raise InvalidStep("gather takes durable calls, such as ctx.step(…) without await")
        engine = self._durable()
        for call in calls:
            call.is_owned = True
        return DurableCall(engine, "gather", partial(run_gather, engine, calls))

    def _open(self) -> DurableCall[str]:
        engine = self._durable()
        return DurableCall(engine, "began_with", lambda turn: engine.open())


class DurableCalls(InsideSteps):
    """The durable calls of an `async def` handler. Each is awaited once, or given to `gather`."""

    __slots__ = ()

    @overload
    def step(
        self, step: str | Step, work: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> DurableCall[T]: ...
    @overload
    def step(
        self, step: str | Step, work: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> DurableCall[T]: ...
    @overload
    def step(self, step: str | Step, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> DurableCall[T]: ...
    def step(self, step: str | Step, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> DurableCall[Any]:
        """Run a function once and record its result: later attempts return it instead of running the function.

            quote = await ctx.step("quote", fetch_quote, payload["id"])
            page = await ctx.step(Step("scan", key=url, retry=Retry(5)), scan, url)

        The function receives all further arguments. An `async def` function runs on the handlers' loop, another one
        in a thread. Its result must be JSON, and is decoded into its return annotation.
        """
        return self._step(step, work, args, kwargs)

    @overload
    def gather(self, call: DurableCall[A], /) -> DurableCall[tuple[A]]: ...
    @overload
    def gather(self, call: DurableCall[A], other: DurableCall[B], /) -> DurableCall[tuple[A, B]]: ...
    @overload
    def gather(self, a: DurableCall[A], b: DurableCall[B], c: DurableCall[C], /) -> DurableCall[tuple[A, B, C]]: ...
    @overload
    def gather(
        self, a: DurableCall[A], b: DurableCall[B], c: DurableCall[C], d: DurableCall[D], /
    ) -> DurableCall[tuple[A, B, C, D]]: ...
    @overload
    def gather(self, *calls: DurableCall[T]) -> DurableCall[tuple[T, ...]]: ...
    def gather(self, *calls: DurableCall[Any]) -> DurableCall[Any]:
        """Run durable calls at once, and return their results in order.

        If one fails, running steps are awaited and recorded, waits end, and the earliest recorded error is raised.
        """
        return self._gather(calls)

    def first(
        self, name: str, /, *, key: Any = None, **branches: Branch
    ) -> DurableCall[tuple[str, ReceivedSignal | None]]:
        """Wait for the first of several branches, and record the winner.

            branch, signal = await ctx.first("payment", paid=ctx.signal("paid"), late=ctx.timer(days=14))

        The signal of a timer is None. Signals that lost stay unread.
        """
        return self._first(identity_of(name, key), branches)

    def sleep(
        self,
        name: str,
        seconds: float | None = None,
        *,
        days: float | None = None,
        until: datetime | None = None,
        key: Any = None,
    ) -> DurableCall[None]:
        """Sleep for a duration from the first call, or until an instant with a time zone. A long one parks."""
        return self._sleep(identity_of(name, key), waits.end_of(seconds, days, until, f"sleep {name!r}"))

    def wait_for(self, name: str, within_s: float | None = None, *, key: Any = None) -> DurableCall[ReceivedSignal]:
        """Return the oldest unread signal of the name. Raise `WaitTimedOut` if none comes within `within_s` seconds."""
        return self._wait_for(identity_of(name, key), within_s)

    def now(self, name: str, *, key: Any = None) -> DurableCall[datetime]:
        """Return the instant of the first call, in UTC."""
        return self._now(identity_of(name, key))

    def note(self, name: str, value: T, *, key: Any = None) -> DurableCall[T]:
        """Keep a JSON value, and return the one of the first call: for choices and random values."""
        return self._note(identity_of(name, key), value)

    def checkpoint(self, value: Any) -> Coroutine[Any, Any, None]:
        """Inside a step: store a JSON value of at most 64 KiB for the next try, as `last_checkpoint`."""
        return keep_checkpoint(self._scope, value)

    def began_with(self) -> DurableCall[str]:
        """Return the version of the kind with which the job made its first durable call."""
        return self._open()


class BlockingCalls(InsideSteps):
    """The durable calls of a plain `def` handler: as `DurableCalls`, but each blocks its thread and returns."""

    __slots__ = ()

    @overload
    def step(
        self, step: str | Step, work: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def step(self, step: str | Step, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def step(self, step: str | Step, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once, in this thread, and record its result. See `DurableCalls.step`."""
        return self._run(self._step(step, work, args, kwargs))

    @overload
    def gather(self, call: DurableCall[A], /) -> tuple[A]: ...
    @overload
    def gather(self, call: DurableCall[A], other: DurableCall[B], /) -> tuple[A, B]: ...
    @overload
    def gather(self, a: DurableCall[A], b: DurableCall[B], c: DurableCall[C], /) -> tuple[A, B, C]: ...
    @overload
    def gather(self, *calls: DurableCall[T]) -> tuple[T, ...]: ...
    def gather(self, *calls: DurableCall[Any]) -> Any:
        """Run durable calls of `ctx.deferred` at once, their functions in threads, and return their results in order.

        a, b = ctx.gather(ctx.deferred.step("a", load, 1), ctx.deferred.step("b", load, 2))
        """
        return self._run(self._gather(calls))

    def first(self, name: str, /, *, key: Any = None, **branches: Branch) -> tuple[str, ReceivedSignal | None]:
        """Wait for the first of several branches, and record the winner. See `DurableCalls.first`."""
        return self._run(self._first(identity_of(name, key), branches))

    def sleep(
        self,
        name: str,
        seconds: float | None = None,
        *,
        days: float | None = None,
        until: datetime | None = None,
        key: Any = None,
    ) -> None:
        """Sleep for a duration from the first call, or until an instant with a time zone. A long one parks."""
        self._run(self._sleep(identity_of(name, key), waits.end_of(seconds, days, until, f"sleep {name!r}")))

    def wait_for(self, name: str, within_s: float | None = None, *, key: Any = None) -> ReceivedSignal:
        """Return the oldest unread signal of the name. Raise `WaitTimedOut` if none comes within `within_s` seconds."""
        return self._run(self._wait_for(identity_of(name, key), within_s))

    def now(self, name: str, *, key: Any = None) -> datetime:
        """Return the instant of the first call, in UTC."""
        return self._run(self._now(identity_of(name, key)))

    def note(self, name: str, value: T, *, key: Any = None) -> T:
        """Keep a JSON value, and return the one of the first call: for choices and random values."""
        return self._run(self._note(identity_of(name, key), value))

    def checkpoint(self, value: Any) -> None:
        """Inside a step: store a JSON value of at most 64 KiB for the next try, as `last_checkpoint`."""
        scope = self._scope
        run_on_loop(scope.engine, keep_checkpoint(scope, value))

    def began_with(self) -> str:
        """Return the version of the kind with which the job made its first durable call."""
        return self._run(self._open())

    def _run(self, call: DurableCall[T]) -> T:
        return run_blocking(self._durable(), call)
