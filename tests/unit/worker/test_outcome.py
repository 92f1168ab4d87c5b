"""What handlers return or raise, as endings."""

import asyncio
import dataclasses
import datetime
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import Permanent, RetryLater
from acked_worker.outcome import (
    MAX_MESSAGE_BYTES,
    MAX_TRACEBACK_BYTES,
    MAX_TYPE_CHARS,
    Failed,
    Succeeded,
    head,
    raised,
    returned,
    safe_text,
    tail,
    timed_out,
)

LIMIT = 1_000


def caught(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error
    except BaseException as same:
        return same


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    ending = returned(value, 1 << 20)
    assert isinstance(ending, Succeeded)
    assert msgspec.json.decode(ending.result_json) == value


@given(json_values, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 3))
def test_numbers_that_json_does_not_have_are_refused_at_any_depth(value: Any, number: float, depth: int) -> None:
    nested: Any = number
    for level in range(depth):
        nested = [value, nested] if level % 2 else {"a": value, "b": nested}
    ending = returned(nested, 1 << 20)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable, ending.error.retryable) == ("ResultNotJson", False, False)


@dataclasses.dataclass
class Point:
    x: float
    at: datetime.date


def test_dataclasses_and_dates_are_json() -> None:
    assert returned(Point(1.5, datetime.date(2026, 1, 2)), LIMIT) == Succeeded(b'{"x":1.5,"at":"2026-01-02"}')
    assert isinstance(returned(Point(math.nan, datetime.date(2026, 1, 2)), LIMIT), Failed)


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [object(), {(1, 2): 3}, "\ud800", msgspec.Raw(b"{"), [msgspec.Raw(b"}")], deep(100_000), lambda: None],
    ids=["object", "tuple key", "surrogate", "raw", "nested raw", "deep", "function"],
)
def test_what_is_no_json_fails_for_good(value: Any) -> None:
    ending = returned(value, LIMIT)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable) == ("ResultNotJson", False)
    assert ending.error.message.startswith("the handler's result is not JSON: ")


def test_the_size_counts_in_bytes_of_json() -> None:
    assert isinstance(returned("é" * 499, LIMIT), Succeeded)
    ending = returned("é" * 500, LIMIT)
    assert isinstance(ending, Failed)
    assert ending.error.type == "ResultTooLarge"
    assert "1002 bytes" in ending.error.message


def test_permanent_is_not_retried_and_may_name_its_type() -> None:
    ending = raised(caught(Permanent("declined", type="card-declined")))
    assert (ending.error.type, ending.error.message, ending.retryable) == ("card-declined", "declined", False)
    assert not ending.error.retryable
    assert raised(Permanent("declined")).error.type == "Permanent"


def test_retry_later_carries_its_wait() -> None:
    ending = raised(caught(RetryLater(12, "busy")))
    assert (ending.error.message, ending.retryable, ending.after_s) == ("busy", True, 12.0)


def test_groups_are_looked_into() -> None:
    one = raised(BaseExceptionGroup("g", [ExceptionGroup("h", [KeyError("k")])]))
    assert (one.error.type, one.retryable) == ("KeyError", True)
    mixed = raised(ExceptionGroup("g", [ValueError("v"), Permanent("p")]))
    assert (mixed.error.type, mixed.retryable) == ("ExceptionGroup", False)
    waits = raised(ExceptionGroup("g", [RetryLater(1), RetryLater(5), ValueError("v")]))
    assert (waits.retryable, waits.after_s) == (True, 5.0)


def test_messages_that_would_be_empty_say_something() -> None:
    assert raised(TimeoutError()).error.message == "TimeoutError"
    assert "nobody cancelled the job" in raised(asyncio.CancelledError()).error.message


def test_texts_are_safe_and_bounded() -> None:
    ending = raised(caught(ValueError("\x00\x1b[31m\ud800\u202e" + "é" * 10_000)))
    message = ending.error.message
    assert message.startswith("\ufffd\ufffd[31m\ufffd\ufffdé")
    assert message.endswith("…")
    assert MAX_MESSAGE_BYTES - 8 <= len(message.encode()) <= MAX_MESSAGE_BYTES
    assert ending.error.traceback is not None
    assert len(ending.error.traceback.encode()) <= MAX_TRACEBACK_BYTES
    assert len(raised(Permanent("m", type="t" * 9_999)).error.type) <= MAX_TYPE_CHARS


def test_an_error_whose_text_can_not_be_read_is_a_failure_too() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise SystemExit("no text")

    ending = raised(caught(Broken()))
    assert ending.error.message == "<Broken whose text can't be read>"
    assert ending.retryable


def test_the_newest_frames_of_a_long_traceback_are_kept() -> None:
    def down(depth: int) -> None:
        if depth == 0:
            raise ValueError("the bottom " + "x" * 30_000 + " of it")
        down(depth - 1)

    try:
        down(200)
    except ValueError as error:
        shown = raised(error).error.traceback
    assert shown is not None
    assert shown.startswith("…")
    assert shown.endswith("of it\n")


@given(st.text(), st.integers(4, 50))
def test_cut_texts_fit_and_stay_text(text: str, most: int) -> None:
    safe = safe_text(text)
    for cut in (head(safe, most), tail(safe, most)):
        assert len(cut.encode()) <= most
        assert cut == safe or "…" in cut
    assert safe_text(safe) == safe


def test_timed_out_says_the_timeout_and_is_worth_another_try() -> None:
    ending = timed_out(1.5, "where\x00")
    assert ending.error.message == "the attempt took longer than its timeout of 1.5 s"
    assert (ending.error.retryable, ending.error.traceback) == (True, "where\ufffd")
