"""Durable waits: `sleep`, `wait_for` and `first`, and the values `now` and `note`.

The end of a wait is kept before the wait begins, so a replay waits for the rest of it. A signal is kept in the write
that takes it out of the inbox.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from acked.durable import results, rules
from acked.durable.engine import Engine
from acked.durable.errors import InvalidStep
from acked.durable.identity import Identity
from acked.durable.port import Call, InboxSignal, Kept
from acked.durable.rules import Waiting
from acked.durable.turns import Turn

MAX_WAIT = timedelta(days=366)


class ReceivedSignal(Struct, frozen=True):
    """A signal that was sent to the job; `value` is the JSON value of its body."""

    id: str
    """The sender's id of the signal, or one that Acked made."""
    name: str
    value: Any
    at: datetime
    """When it was received, in UTC."""
    by: str | None = None
    """The client that sent it."""
    seq: int = 0
    """Its place among all signals of the job, from 1."""


class SignalBranch(Struct, frozen=True):
    """A branch of `first` that a signal wins."""

    name: str


class TimerBranch(Struct, frozen=True):
    """A branch of `first` that wins when its time has come: a duration from the first call, or an instant."""

    end: timedelta | datetime


Branch = SignalBranch | TimerBranch


class _Winner(Struct, frozen=True):
    """The kept outcome of `first`; without a winner the timer that ends first."""

    branch: str
    signal: ReceivedSignal | None = None


def end_of(seconds: float | None, days: float | None, until: datetime | None, what: str) -> timedelta | datetime:
    """Return the one end that is given. Raise `InvalidStep` for none, several, or one that is not possible."""
    given = [value for value in (seconds, days, until) if value is not None]
    if len(given) != 1:
        raise InvalidStep(f"{what} needs exactly one of seconds=, days= and until=")
    if until is not None:
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise InvalidStep(f"{what}: until= needs a datetime with a time zone, not {until!r}")
        return until.astimezone(UTC)
    value, unit = given[0], "seconds" if days is None else "days"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidStep(f"{what}: {unit}= needs a number, not {value!r}")
    try:
        duration = timedelta(**{unit: max(0.0, value)})
    except (ValueError, OverflowError):
        duration = timedelta.max
    if duration > MAX_WAIT or value != value:
        raise InvalidStep(f"{what}: {unit}={value!r} is not a duration of at most a year")
    return duration


def _due(engine: Engine, end: timedelta | datetime) -> datetime:
    return engine.port.now() + end if isinstance(end, timedelta) else end


async def run_sleep(engine: Engine, identity: Identity, end: timedelta | datetime, turn: Turn) -> None:
    """Return when the end is reached that the first attempt kept."""
    entry = engine.kept.get(identity.digest)
    if entry is None:
        entry = engine.entry(identity, Call.SLEEP, due_at=_due(engine, end))
        entry = await engine.keep(identity.digest, entry)
    while entry.due_at is not None and engine.port.now() < entry.due_at:
        await engine.turns.suspend(turn, Waiting(Call.SLEEP, identity.name, entry.due_at))


async def run_wait(engine: Engine, identity: Identity, within_s: float | None, turn: Turn) -> ReceivedSignal:
    """Return the oldest signal of the name. Raise `WaitTimedOut` if none came in time."""
    await engine.open()
    entry = engine.kept.get(identity.digest)
    if entry is None or entry.is_open:
        entry = await _receive(engine, identity, within_s, entry, turn)
    error = rules.error_of(entry, identity)
    if error is not None:
        raise error
    received: ReceivedSignal = results.kept_result(entry.value or b"null", ReceivedSignal, f"wait {identity.text}")
    return received


async def _receive(engine: Engine, identity: Identity, within_s: float | None, entry: Kept | None, turn: Turn) -> Kept:
    due_at = None if entry is None else entry.due_at
    while True:
        signal = engine.take_oldest((identity.name,))
        if signal is not None:
            done = engine.entry(identity, Call.WAIT, due_at=due_at, value=msgspec.json.encode(_received(signal)))
            return await engine.keep(identity.digest, done, takes=signal.id)
        if entry is None and within_s is not None:
            due_at = engine.port.now() + timedelta(seconds=within_s)
            entry = await engine.keep(identity.digest, engine.entry(identity, Call.WAIT, due_at=due_at, is_open=True))
            if not entry.is_open:
                return entry
            due_at = entry.due_at
            continue
        if due_at is not None and engine.port.now() >= due_at:
            return await engine.keep(identity.digest, engine.entry(identity, Call.WAIT, due_at=due_at, timed_out=True))
        if not await engine.read_inbox(once=True):
            await engine.turns.suspend(turn, Waiting(Call.WAIT, identity.name, due_at, (identity.name,)))
            await engine.read_inbox()


async def run_first(
    engine: Engine, identity: Identity, branches: Mapping[str, Branch], turn: Turn
) -> tuple[str, ReceivedSignal | None]:
    """Return the branch that won in the first attempt that saw a winner, and its signal; None for a timer."""
    await engine.open()
    entry = engine.kept.get(identity.digest)
    if entry is None or entry.is_open:
        entry = await _race(engine, identity, branches, entry, turn)
    won: _Winner = results.kept_result(entry.value or b"null", _Winner, f"first {identity.text}")
    return won.branch, won.signal


async def _race(
    engine: Engine, identity: Identity, branches: Mapping[str, Branch], entry: Kept | None, turn: Turn
) -> Kept:
    by_signal = {branch.name: name for name, branch in branches.items() if isinstance(branch, SignalBranch)}
    timers = {name: _due(engine, branch.end) for name, branch in branches.items() if isinstance(branch, TimerBranch)}
    if entry is None and timers:
        timer = min(timers, key=lambda name: timers[name])
        entry = engine.entry(
            identity, Call.FIRST, due_at=timers[timer], is_open=True, value=msgspec.json.encode(_Winner(timer))
        )
        entry = await engine.keep(identity.digest, entry)
        if not entry.is_open:
            return entry
    due_at = None if entry is None else entry.due_at
    while True:
        signal = engine.take_oldest(by_signal)
        if signal is not None:
            won = _Winner(by_signal[signal.name], _received(signal))
            done = engine.entry(identity, Call.FIRST, due_at=due_at, value=msgspec.json.encode(won))
            return await engine.keep(identity.digest, done, takes=signal.id)
        if entry is not None and due_at is not None and engine.port.now() >= due_at:
            done = engine.entry(identity, Call.FIRST, due_at=due_at, value=entry.value)
            return await engine.keep(identity.digest, done)
        if not await engine.read_inbox(once=True):
            await engine.turns.suspend(turn, Waiting(Call.FIRST, identity.name, due_at, tuple(by_signal)))
            await engine.read_inbox()


async def run_now(engine: Engine, identity: Identity, turn: Turn) -> datetime:
    """Return the instant of the first call."""
    entry = engine.kept.get(identity.digest)
    if entry is None:
        value = msgspec.json.encode(engine.port.now())
        entry = await engine.keep(identity.digest, engine.entry(identity, Call.NOW, value=value))
    at: datetime = results.kept_result(entry.value or b"null", datetime, f"now {identity.text}")
    return at


async def run_note(engine: Engine, identity: Identity, value: Any, turn: Turn) -> Any:
    """Return the value of the first call."""
    entry = engine.kept.get(identity.digest)
    if entry is None:
        encoded = results.encode(value, f"note {identity.text}")
        entry = await engine.keep(identity.digest, engine.entry(identity, Call.NOTE, value=encoded))
    return results.like(entry.value or b"null", value)


def _received(signal: InboxSignal) -> ReceivedSignal:
    return ReceivedSignal(signal.id, signal.name, msgspec.json.decode(signal.value), signal.at, signal.by, signal.seq)
