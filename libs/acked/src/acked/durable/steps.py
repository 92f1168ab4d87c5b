"""Steps: run a function once, record its result, and return it at each replay."""

import asyncio
import contextvars
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from acked.durable import results, rules
from acked.durable.engine import SCOPE, Engine, StepScope
from acked.durable.errors import DurableError, InvalidStep, StepTimedOut
from acked.durable.identity import Identity
from acked.durable.port import Call, Kept
from acked.durable.rules import Waiting
from acked.durable.step import Step
from acked.durable.turns import Turn

MAX_CHECKPOINT_BYTES = 64 * 1024


class StepRun:
    """One step of an attempt: its definition, its function and the arguments."""

    def __init__(
        self, engine: Engine, step: Step, identity: Identity, work: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        if not callable(work):
            raise InvalidStep(
                f"step {identity.text} needs a function, not {work!r}: ctx.step('name', function, argument)"
            )
        self._engine = engine
        self._step = step
        self._identity = identity
        self._label = f"step {identity.text}"
        self._function = work
        self._call = partial(work, *args, **kwargs)
        self._arguments = results.digest_of_arguments(args, kwargs)
        self._returns = results.return_type(work)

    async def run(self, turn: Turn) -> Any:
        """Return the step's result, of this attempt or of an earlier one."""
        if self._step.once:
            # A ledger that this attempt has not read may have it.
            await self._engine.open()
        entry = self._engine.kept.get(self._identity.digest)
        return await self._first_run(turn) if entry is None else self._replayed(entry)

    def _replayed(self, entry: Kept) -> Any:
        error = rules.uncertain(entry, self._identity) or rules.error_of(entry, self._identity)
        if error is not None:
            raise error
        if None not in (entry.arguments, self._arguments) and entry.arguments != self._arguments:
            self._engine.log.warning(
                "a recorded step was called with other arguments; its recorded result is used",
                step=self._identity.text,
                kept_by_attempt=entry.attempt,
            )
        kept = entry.value or b"null"
        if self._step.upgrade is not None and entry.version < self._step.version:
            kept = results.encode(self._step.upgrade(results.decode(kept)), f"the upgrade of {self._label}")
        return results.kept_result(kept, self._returns, self._label)

    async def _first_run(self, turn: Turn) -> Any:
        delays, tries = self._kept_delays() if self._engine.has_replay else ([], 0)
        if delays:
            await self._delay(turn, delays[-1])
        while True:
            tries += 1
            if self._step.once:
                await self._keep(is_open=True)
            began_s = time.monotonic()
            try:
                value = await self._try(turn, tries)
            except DurableError as error:
                if not isinstance(error, StepTimedOut):
                    raise
                failure: Exception = error
            except Exception as error:
                failure = error
            else:
                return await self._done(value, tries, time.monotonic() - began_s)
            if rules.is_final(failure, self._step.retry, tries, once=self._step.once):
                kept = await self._keep(error=rules.kept_error(failure), tries=tries, took_s=time.monotonic() - began_s)
                raise (rules.error_of(kept, self._identity) or failure) from failure
            if self._step.retry is None:
                raise failure
            await self._back_off(turn, failure, tries, delays)

    async def _done(self, value: Any, tries: int, took_s: float) -> Any:
        encoded = results.encode(value, self._label)
        # Decoded: a replay returns the same, and the handler can't change what is kept.
        result = results.first_result(encoded, self._returns, self._label)
        kept = await self._keep(value=encoded, tries=tries, took_s=took_s)
        if kept.value != encoded:
            # Another attempt had kept its outcome before this one opened the ledger.
            return self._replayed(kept)
        return result

    async def _keep(self, **fields: Any) -> Kept:
        entry = self._engine.entry(
            self._identity, Call.STEP, arguments=self._arguments, version=self._step.version, **fields
        )
        return await self._engine.keep(self._identity.digest, entry)

    # Tries.

    async def _try(self, turn: Turn, tries: int) -> Any:
        may_have_one = tries > 1 or self._engine.has_replay
        checkpoint = newest_checkpoint(self._engine, self._identity) if may_have_one else None
        scope = StepScope(self._engine, self._identity, tries, checkpoint)
        before = SCOPE.set(scope)
        try:
            if _is_async(self._function):
                return await self._within_timeout(self._call())
            return await self._plain(turn, scope)
        finally:
            SCOPE.reset(before)

    async def _within_timeout(self, work: Awaitable[Any]) -> Any:
        limit_s = self._step.timeout_s
        if limit_s is None:
            return await work
        try:
            async with asyncio.timeout(limit_s) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise StepTimedOut(self._identity.text, limit_s) from None

    async def _plain(self, turn: Turn, scope: StepScope) -> Any:
        began_s = time.monotonic()
        variables = contextvars.copy_context()
        run = turn.run or self._in_thread
        # A thread can't be stopped: the next try begins when this one has ended.
        value = await run(partial(variables.run, _in_scope, scope, self._call))
        limit_s = self._step.timeout_s
        if limit_s is not None and time.monotonic() - began_s > limit_s:
            if inspect.iscoroutine(value):
                value.close()
            raise StepTimedOut(self._identity.text, limit_s)
        return await self._within_timeout(value) if inspect.isawaitable(value) else value

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await self._engine.port.loop.run_in_executor(None, work)

    # Delays between tries.

    def _kept_delays(self) -> tuple[list[Kept], int]:
        """Return the kept delays of the step, and after how many tries the last of them began."""
        kept: list[Kept] = []
        while (entry := self._engine.kept.get(self._identity.part("#", len(kept) + 1))) is not None:
            kept.append(entry)
        return kept, kept[-1].tries if kept else 0

    async def _back_off(self, turn: Turn, failure: Exception, tries: int, delays: list[Kept]) -> None:
        retry, engine = self._step.retry, self._engine
        if retry is None:
            raise failure
        delay = timedelta(seconds=rules.delay_s(failure, retry, tries))
        due_at = engine.port.now() + delay
        entry = engine.entry(self._identity, Call.TRY, due_at=due_at, tries=tries, error=rules.kept_error(failure))
        if delay.total_seconds() > engine.port.park_over_s:
            entry = await engine.keep(self._identity.part("#", len(delays) + 1), entry)
            delays.append(entry)
        engine.log.warning("a step failed and will be retried", step=self._identity.text, tries=tries, due_at=due_at)
        await self._delay(turn, entry)

    async def _delay(self, turn: Turn, entry: Kept) -> None:
        while entry.due_at is not None and self._engine.port.now() < entry.due_at:
            await self._engine.turns.suspend(turn, Waiting(Call.TRY, self._identity.name, entry.due_at))


def newest_checkpoint(engine: Engine, identity: Identity) -> bytes | None:
    """Return the newest checkpoint of a step as JSON; None without one."""
    count = _checkpoints(engine, identity)
    return engine.kept[identity.part("@", count)].value if count else None


async def keep_checkpoint(scope: StepScope, value: Any) -> None:
    """Keep a value for the next try of the step, in this attempt or a later one."""
    engine, identity = scope.engine, scope.identity
    encoded = results.encode(value, f"a checkpoint of step {identity.text}")
    if len(encoded) > MAX_CHECKPOINT_BYTES:
        raise InvalidStep(
            f"a checkpoint of step {identity.text} has {len(encoded):,} bytes of JSON, more than "
            f"{MAX_CHECKPOINT_BYTES:,}; keep a position or a reference"
        )
    number = _checkpoints(engine, identity) + 1
    await engine.keep(identity.part("@", number), engine.entry(identity, Call.CHECKPOINT, value=encoded))


def _checkpoints(engine: Engine, identity: Identity) -> int:
    """Return how many checkpoints of a step are kept; in about 2 log n looks."""
    high = 1
    while identity.part("@", high) in engine.kept:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if identity.part("@", middle) in engine.kept else (low, middle)
    return low


def _in_scope(scope: StepScope, work: Callable[[], Any]) -> Any:
    SCOPE.set(scope)
    return work()


def _is_async(function: Any) -> bool:
    if isinstance(function, partial):
        return _is_async(function.func)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(vars(type(function)).get("__call__"))
