"""The definition of one kind: its function and options, validated when the decorator runs. Pure."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from acked.payloads import PayloadType, payload_type_of

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
YEAR_S = 366 * 86_400.0
MAX_ATTEMPTS = 100_000
MAX_BUNDLE = 32


class DefinitionError(Exception):
    """A handler is defined incorrectly; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class KindOptions:
    """How jobs of a kind run. Durations are seconds."""

    timeout_s: float = 900.0
    """Timeout of one attempt."""
    max_attempts: int = 5
    """Failed attempts (errors and timeouts) after which the job fails."""
    backoff_base_s: float = 1.0
    """Maximum delay after the first failure; it doubles with each failure."""
    backoff_cap_s: float = 300.0
    """Maximum delay after any number of failures."""
    bundle: int | None = None
    """Jobs per broker message, 1 to 32 and at most a quarter of the worker's slots; `None` lets Acked choose."""
    lane: str | None = None
    """The queue that the kind shares with others; `None` gives it a queue of its own."""
    version: str = "1"
    """Shown in the list of kinds; change it when the handler changes."""
    replace: bool = False
    """Replace another handler of the same kind."""
    timeout_limit_s: float | None = None
    """The longest timeout that a request may set; `None` means `timeout_s`."""
    max_attempts_limit: int | None = None
    """The most attempts that a request may set; `None` means `max_attempts`."""

    def __post_init__(self) -> None:
        for name in ("timeout_s", "backoff_base_s", "backoff_cap_s"):
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        if self.backoff_base_s > self.backoff_cap_s:
            raise DefinitionError(
                f"backoff_base_s ({self.backoff_base_s:g}) is more than backoff_cap_s ({self.backoff_cap_s:g})"
            )
        _whole("max_attempts", self.max_attempts, MAX_ATTEMPTS)
        if self.timeout_limit_s is not None:
            object.__setattr__(self, "timeout_limit_s", _seconds("timeout_limit_s", self.timeout_limit_s))
            _not_below("timeout_limit_s", self.timeout_limit_s, "timeout_s", self.timeout_s)
        if self.max_attempts_limit is not None:
            _whole("max_attempts_limit", self.max_attempts_limit, MAX_ATTEMPTS)
            _not_below("max_attempts_limit", self.max_attempts_limit, "max_attempts", self.max_attempts)
        if self.bundle is not None:
            _whole("bundle", self.bundle, MAX_BUNDLE)
        if self.lane is not None:
            check_name("lane", self.lane)
        if not isinstance(self.version, str) or not 0 < len(self.version) <= 64 or not self.version.isprintable():
            raise DefinitionError(f"version must be a string of 1 to 64 printable characters, not {self.version!r}")
        if not isinstance(self.replace, bool):
            raise DefinitionError(f"replace must be True or False, not {self.replace!r}")


@dataclass(frozen=True, slots=True)
class KindDefinition:
    """One kind of job and the function that does its work."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    options: KindOptions
    module: str
    """The module that defined it."""
    place: str
    """`file:line` of the function, for messages."""
    payload: PayloadType | None = None
    """What the handler takes, by its annotation; None for the decoded JSON. It is set once all modules are loaded."""


def define(name: object, function: object, options: KindOptions) -> KindDefinition:
    """Return a validated kind. Raise `DefinitionError`, whose message starts with the function's location."""
    place = place_of(function)
    try:
        checked_name = check_name("the kind's name", name)
        is_async = _is_async(function)
        if not is_async and (options.bundle or 1) > 1:
            raise DefinitionError("a handler that isn't `async def` takes one job at a time; omit bundle")
    except DefinitionError as error:
        raise DefinitionError(f"{place}: {error}") from None
    assert callable(function)  # noqa: S101 - for the type checker; _is_async has rejected everything else
    module = str(getattr(function, "__module__", "?"))
    return KindDefinition(checked_name, function, is_async, options, module, place)


def with_payload_type(kind: KindDefinition) -> KindDefinition:
    """Return the kind with the type of its payload, by the annotation of its function. Raise `UntypedPayload`."""
    return replace(kind, payload=payload_type_of(kind.function))


def check_name(what: str, name: object) -> str:
    """Return the name if it is valid for a kind or a lane. Raise `DefinitionError`."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise DefinitionError(
            f"{what} must be 1 to 64 of a-z, 0-9, '.', '_', '-' and start with a letter or a digit, not {name!r}"
        )
    return name


def place_of(function: object) -> str:
    """Return `file:line` of a function, or its repr if it has no source."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def _is_async(function: object) -> bool:
    if not inspect.isfunction(function):
        raise DefinitionError(f"@handler needs a function (`def` or `async def`), not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{function.__name__} yields; a handler returns its result instead")
    try:
        inspect.signature(function).bind(object(), object())
    except TypeError:
        raise DefinitionError(
            f"{function.__name__} must take exactly the two arguments (ctx, payload); "
            f"it takes {inspect.signature(function)}"
        ) from None
    return inspect.iscoroutinefunction(function)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DefinitionError(f"{name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or not 0 < value <= YEAR_S:
        raise DefinitionError(f"{name} must be more than 0 and at most a year ({YEAR_S:.0f} s), not {value!r}")
    return float(value)


def _not_below(name: str, limit: float, own_name: str, own: float) -> None:
    if limit < own:
        raise DefinitionError(f"{name} ({limit:g}) is less than {own_name} ({own:g}), the default of every job")


def _whole(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise DefinitionError(f"{name} must be an integer from 1 to {most}, not {value!r}")
