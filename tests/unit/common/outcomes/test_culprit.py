"""Which line of the user's own code is named for an error."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from acked import Permanent, RetryLater
from acked_common.outcomes.culprit import culprit_of
from acked_common.outcomes.outcome import MAX_CULPRIT_BYTES, Failed, raised, timed_out
from acked_worker.isolate.frames import LENGTH_BYTES, EndedBadly, decode_to_worker, ended, framed

OWN = """
import asyncio
import json
from culprit_library import call, wrap

class Mail:
    def send(self, payload):
        raise ValueError(f"no order {payload}")  # the line

def direct(payload):
    Mail().send(payload)

def through_library(payload):
    call(Mail().send, payload)

def in_library(payload):
    call(None, payload)

def in_standard_library(payload):
    json.loads("{" + payload)

def wrapped(payload):
    wrap(Mail().send, payload)

def chained(payload):
    try:
        Mail().send(payload)
    except ValueError as error:
        raise RuntimeError("mail") from error

def other_line(payload):
    raise ValueError(f"no order {payload}")

def in_comprehension(payload):
    return [int(one) for one in [payload]]

def nested(payload):
    def inner():
        raise ValueError(payload)
    inner()

async def in_group(payload):
    async def one():
        Mail().send(payload)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one())
        tasks.create_task(one())

async def in_mixed_group(payload):
    async def one():
        Mail().send(payload)
    async def other():
        raise KeyError(payload)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one())
        tasks.create_task(other())
"""
LIBRARY = """
def call(function, payload):
    return function(payload)

def wrap(function, payload):
    try:
        function(payload)
    except Exception as error:
        raise LookupError("library") from error

def handler(payload):
    _inner(payload)

def _inner(payload):
    raise ValueError(payload)
"""
SEND = 'culprit_own.Mail.send: raise ValueError(f"no order {payload}")  # the line'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of the user's, and one that is installed, as on another host each time."""
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (tmp_path / "culprit_own.py").write_text(OWN)
    (installed / "culprit_library.py").write_text(LIBRARY)
    for folder in (tmp_path, installed):
        monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("culprit_own")
    for name in ("culprit_own", "culprit_library"):
        sys.modules.pop(name, None)


def error_of(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def made(module: str, file: str = "<string>") -> Callable[[], Any]:
    """A function that fails, of a module that has no source."""
    space: dict[str, Any] = {"__name__": module}
    exec(compile("def fail():\n raise ValueError('x')\n", file, "exec"), space)  # noqa: S102 - a function of any module
    function: Callable[[], Any] = space["fail"]
    return function


EXPECTED = {
    "direct": SEND,
    "through_library": SEND,
    "in_library": "culprit_own.in_library: call(None, payload)",
    "in_standard_library": 'culprit_own.in_standard_library: json.loads("{" + payload)',
    "wrapped": "culprit_own.wrapped: wrap(Mail().send, payload)",
    "chained": 'culprit_own.chained: raise RuntimeError("mail") from error',
    "other_line": 'culprit_own.other_line: raise ValueError(f"no order {payload}")',
    "in_comprehension": "culprit_own.in_comprehension: return [int(one) for one in [payload]]",
    "nested": "culprit_own.nested.<locals>.inner: raise ValueError(payload)",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_culprit_is_the_innermost_line_of_own_code(own: ModuleType, name: str) -> None:
    # The frame of this test is below: a worker's handler has none of the user's there.
    error = error_of(lambda: getattr(own, name)("x"))
    assert culprit_of(error) == EXPECTED[name]
    ending = raised(error)
    assert ending.error.culprit == EXPECTED[name]
    assert str(Path(own.__file__ or "").parent) not in ending.error.culprit


def test_culprit_of_a_group_is_the_line_that_its_errors_share(own: ModuleType) -> None:
    assert culprit_of(error_of(lambda: asyncio.run(own.in_group("x")))) == SEND


def test_culprit_of_a_group_of_several_lines_is_its_own_line(own: ModuleType) -> None:
    found = {culprit_of(error_of(lambda: asyncio.run(own.in_mixed_group("x")))) for _ in range(5)}
    (shared,) = found
    assert shared is not None and shared.startswith("culprit_own.in_mixed_group: async with asyncio.TaskGroup()")


def test_culprit_of_an_error_from_a_thread_is_found(own: ModuleType) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(own.direct, "x")
        error = future.exception()
    assert error is not None and culprit_of(error) == SEND


def test_culprit_behind_an_error_without_own_frames_is_found(own: ModuleType) -> None:
    foreign = LookupError("made elsewhere")
    foreign.__cause__ = error_of(lambda: own.direct("x"))
    assert culprit_of(foreign) == SEND
    by_context = LookupError("made elsewhere")
    by_context.__context__ = foreign.__cause__
    assert culprit_of(by_context) == SEND
    by_context.__suppress_context__ = True
    assert culprit_of(by_context) is None


def test_culprit_of_causes_in_a_circle_is_none() -> None:
    one, other = LookupError("one"), LookupError("other")
    one.__cause__, other.__cause__ = other, one
    assert culprit_of(one) is None


def test_culprit_of_handlers_that_are_installed_is_in_their_package(own: ModuleType) -> None:
    library = importlib.import_module("culprit_library")
    error = error_of(lambda: library.handler("x"))
    # Without the frames of this test, as in a worker.
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    assert culprit_of(error) == "culprit_library._inner: raise ValueError(payload)"


def test_culprit_of_a_shipped_kind_is_in_it_wherever_it_is_installed() -> None:
    fail = made("acked.kinds.made_up", "/usr/lib/site-packages/acked/kinds/made_up.py")
    assert culprit_of(error_of(fail)) == "acked.kinds.made_up.fail"


@pytest.mark.parametrize("name", ["acked", "acked.context", "acked_common.x", "acked_worker.execute.x", "acked_kinds"])
def test_frames_of_acked_are_nobodys_fault(name: str) -> None:
    error = error_of(made(name))
    error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]
    assert (culprit_of(error) is None) is (name != "acked_kinds")


def test_code_without_a_source_is_named_without_a_line() -> None:
    assert culprit_of(error_of(made("made_up"))) == "made_up.fail"


def test_error_without_a_traceback_has_no_culprit() -> None:
    assert culprit_of(ValueError("x")) is None
    assert raised(ValueError("x")).error.culprit is None


class Hostile(Exception):
    """An error whose parts can't be read."""

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no cause for you")


def test_error_that_can_not_be_read_has_no_culprit() -> None:
    assert culprit_of(Hostile("x")) is None


def test_timeout_has_no_culprit() -> None:
    assert timed_out(1.0, "where").error.culprit is None


def test_long_lines_and_hidden_characters_are_bounded_and_made_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "culprit_long"
    (tmp_path / f"{name}.py").write_text(f'def fail():\n    raise ValueError("\u202e{"ö" * 1000}")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(name)
    try:
        found = raised(error_of(module.fail)).error.culprit
    finally:
        sys.modules.pop(name, None)
    assert found is not None and len(found.encode()) <= MAX_CULPRIT_BYTES
    assert found.startswith('culprit_long.fail: raise ValueError("\N{REPLACEMENT CHARACTER}ö') and found.endswith("…")


@pytest.mark.parametrize("error", [ValueError("x"), Permanent("x"), RetryLater(5.0, "x")])
def test_culprit_survives_the_way_from_an_isolated_process(own: ModuleType, error: Exception) -> None:
    def fail() -> None:
        raise error

    ending = raised(error_of(fail))
    frame = decode_to_worker(framed(ended(ending))[LENGTH_BYTES:])
    assert isinstance(frame, EndedBadly) and isinstance(frame.ending, Failed)
    assert frame.ending == ending
    assert ending.error.culprit is not None and ending.error.culprit.endswith(".fail: raise error")
