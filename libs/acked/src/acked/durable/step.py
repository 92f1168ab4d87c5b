"""The definition of a step: `Step` and `Retry`, validated when they are made. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acked.durable.errors import InvalidStep

MAX_TRIES = 1000
YEAR_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a failed step is tried again. Durations are seconds.

    The delay before each further try is random, up to `base_s`, doubled with each failure up to `cap_s`.
    """

    attempts: int
    """Tries in all; the failure of the last one is the outcome of the step."""
    base_s: float = 1.0
    cap_s: float = 60.0

    def __post_init__(self) -> None:
        _whole("attempts", self.attempts, MAX_TRIES)
        _seconds("base_s", self.base_s)
        _seconds("cap_s", self.cap_s)
        if self.base_s > self.cap_s:
            raise InvalidStep(f"Retry: base_s ({self.base_s:g}) is more than cap_s ({self.cap_s:g})")


@dataclass(frozen=True, slots=True)
class Step:
    """A step with more than a name: `ctx.step(Step("scan", key=page, timeout_s=30), scan, page)`."""

    name: str
    """1 to 64 of a-z, 0-9, '.', '_', '-'."""
    key: Any = None
    """A JSON scalar that distinguishes steps of one name, as in a loop."""
    timeout_s: float | None = None
    """The timeout of one try."""
    retry: Retry | None = None
    """Without it an error fails the attempt, and the kind's own back-off applies."""
    once: bool = False
    """Never run the function twice: an unknown outcome raises `StepUncertain`."""
    version: int = 1
    """Of the result's meaning; raise it together with `upgrade`."""
    upgrade: Callable[[Any], Any] | None = None
    """Converts a result that an earlier version recorded, as plain JSON, into the current form."""

    def __post_init__(self) -> None:
        if self.timeout_s is not None:
            _seconds("timeout_s", self.timeout_s)
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidStep(f"Step: retry must be a Retry such as Retry(5), not {self.retry!r}")
        if self.once and self.retry is not None:
            raise InvalidStep("Step: a step with once=True is never retried; omit retry")
        _whole("version", self.version, 1_000_000)
        if self.upgrade is not None and not callable(self.upgrade):
            raise InvalidStep(f"Step: upgrade must be a function of the old result, not {self.upgrade!r}")


def _seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidStep(f"{name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or not 0 < value <= YEAR_S:
        raise InvalidStep(f"{name} must be more than 0 and at most a year ({YEAR_S:.0f} s), not {value!r}")


def _whole(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidStep(f"{name} must be an integer from 1 to {most:,}, not {value!r}")
