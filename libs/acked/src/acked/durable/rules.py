"""The decisions of durable calls: what a kept entry means, which signal is taken, when an attempt parks. Pure."""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from acked.durable.errors import StepFailed, StepUncertain, WaitTimedOut
from acked.durable.identity import Identity
from acked.durable.port import InboxSignal, Kept, KeptError, ParkedFor
from acked.durable.step import Retry
from acked.errors import Permanent, RetryLater

MAX_MESSAGE_CHARS = 2000
MAX_TYPE_CHARS = 200


class Meaning(Enum):
    """What a kept entry means for the call that meets it."""

    NOTHING = auto()
    """The call has not begun in any attempt."""
    OPEN = auto()
    """It has begun and has no outcome."""
    CANCELLED = auto()
    """The handler cancelled it: it does not end by itself."""
    FAILED = auto()
    TIMED_OUT = auto()
    DONE = auto()


def meaning(kept: Kept | None) -> Meaning:
    """Return what an entry means."""
    if kept is None:
        return Meaning.NOTHING
    if kept.is_open:
        return Meaning.OPEN
    if kept.cancelled:
        return Meaning.CANCELLED
    if kept.error is not None:
        return Meaning.FAILED
    return Meaning.TIMED_OUT if kept.timed_out else Meaning.DONE


def error_of(kept: Kept, identity: Identity) -> Exception | None:
    """Return the error that an entry raises at each replay; None if it has none."""
    what = meaning(kept)
    if what is Meaning.FAILED and kept.error is not None:
        return StepFailed(identity.text, kept.error.type, kept.error.message)
    if what is Meaning.TIMED_OUT:
        return WaitTimedOut(identity.text, identity.name)
    return None


def uncertain(kept: Kept, identity: Identity) -> StepUncertain | None:
    """Return the error of a step that began once and has no outcome."""
    return StepUncertain(identity.text) if meaning(kept) is Meaning.OPEN else None


def kept_error(error: Exception) -> KeptError:
    """Return the error of a step as it is kept."""
    type_ = error.type if isinstance(error, Permanent) and error.type else type(error).__name__
    return KeptError(_short(str(type_), MAX_TYPE_CHARS), _short(_text(error), MAX_MESSAGE_CHARS))


def is_final(error: Exception, retry: Retry | None, tries: int, *, once: bool) -> bool:
    """Return whether an error is the outcome of its step, so that the function does not run again."""
    return once or isinstance(error, Permanent) or (retry is not None and tries >= retry.attempts)


def delay_s(error: Exception, retry: Retry, tries: int, draw: Callable[[], float] = random.random) -> float:
    """Return the delay before the next try after `tries` failures; one that the step requested takes precedence."""
    if isinstance(error, RetryLater):
        return error.after_s
    return min(retry.cap_s, retry.base_s * 2.0 ** min(tries - 1, 63)) * draw()


def oldest(inbox: Iterable[InboxSignal], names: Collection[str]) -> InboxSignal | None:
    """Return the signal with one of the names that arrived first."""
    return min((signal for signal in inbox if signal.name in names), key=lambda signal: signal.seq, default=None)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One durable call that waits for an instant, for signals, or for both."""

    call: str
    name: str
    until_at: datetime | None = None
    signals: tuple[str, ...] = ()


def parks(waits: Sequence[Waiting], now: datetime, park_over_s: float, deadline_at: datetime) -> bool:
    """Return whether an attempt of which only these waits are left parks.

    It stays in memory while the earliest wait ends soon, and before the attempt's own deadline.
    """
    ends = [wait.until_at for wait in waits if wait.until_at is not None]
    if not ends:
        return bool(waits)
    return min(ends) > now + timedelta(seconds=park_over_s) or min(ends) >= deadline_at


def parked_for(waits: Sequence[Waiting], in_seq: int) -> ParkedFor:
    """Return why an attempt with these waits parks."""
    first = min(waits, key=lambda wait: (wait.until_at is None, wait.until_at.timestamp() if wait.until_at else 0.0))
    signals = sorted({name for wait in waits for name in wait.signals})
    return ParkedFor(first.call, first.name, first.until_at, tuple(signals), in_seq)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:
        text = f"<{type(error).__name__} whose text can't be read>"
    # A lone surrogate has no UTF-8.
    return text.encode("utf-8", "replace").decode()
