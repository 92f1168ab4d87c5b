"""What handlers return or raise, as endings."""

import asyncio
import dataclasses
import datetime
import enum
import json
import math
from array import array
from collections import ChainMap, deque
from decimal import Decimal
from ipaddress import ip_address
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import Permanent, RetryLater, json_values
from acked_common.model import strict_json
from acked_common.model.strict_json import StrictJsonError
from acked_common.outcomes.outcome import (
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


keys = st.text().filter(lambda key: "\0" not in key)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    ending = returned(value, 1 << 20)
    assert isinstance(ending, Succeeded)
    assert msgspec.json.decode(ending.result_json) == value


@given(values, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 3))
def test_numbers_that_json_does_not_have_are_refused_at_any_depth(value: Any, number: float, depth: int) -> None:
    nested: Any = number
    for level in range(depth):
        nested = [value, nested] if level % 2 else {"a": value, "b": nested}
    ending = returned(nested, 1 << 20)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable, ending.error.retryable) == ("ResultNotJson", False, False)


class Scalar(float):
    """As numpy's float64."""


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


BAD = {
    "object": object(),
    "tuple key": {(1, 2): 3},
    "surrogate": "\ud800",
    "raw": msgspec.Raw(b"{"),
    "nested raw": [msgspec.Raw(b"}")],
    "raw with a key twice": msgspec.Raw(b'{"a":1,"a":2}'),
    "deep": deep(100_000),
    "33 levels": deep(32),
    "function": lambda: None,
    "class": Point,
    "generator": (n for n in range(3)),
    "key twice as a text": {1: "a", "1": "b"},
    "nested key twice": [{"a": {True: 1, "true": 2}}],
    "NUL in a key": {"a\0b": 1},
    "integer above 64 bits": 2**63,
    "integer below 64 bits": {"a": [-(2**63) - 1]},
    "huge integer": 10**400,
    "numpy-like infinity": [Scalar(math.inf)],
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_what_is_no_json_fails_for_good(value: Any) -> None:
    ending = returned(value, 1 << 20)
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable) == ("ResultNotJson", False)
    assert ending.error.message.startswith("the handler's result is not JSON: ")
    assert "The handler completed its work and returned " in ending.error.message


def test_a_refused_result_says_where_and_what_it_was() -> None:
    ending = returned({"order": 4711, "rows": [{"id": 2**64}]}, 1 << 20)
    assert isinstance(ending, Failed)
    assert "(at /rows/0/id)" in ending.error.message
    assert "'order': 4711" in ending.error.message


class Unrepresentable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_result_whose_repr_raises_still_ends_the_job() -> None:
    ending = returned(Unrepresentable(), 1 << 20)
    assert isinstance(ending, Failed)
    assert ending.error.type == "ResultNotJson"


class Colour(enum.Enum):
    RED = "red"


class Order(NamedTuple):
    id: int
    rows: tuple[str, ...]


class Text(str):
    pass


class Number(int):
    pass


class Stamp(datetime.datetime):
    pass


class Model:
    """As a model of pydantic."""

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"mode": mode}


UTC_STAMP = (2026, 1, 2, 3, 4, 5)
KEPT: dict[str, tuple[Any, bytes]] = {
    "datetime": (datetime.datetime(*UTC_STAMP, tzinfo=datetime.UTC), b'"2026-01-02T03:04:05Z"'),
    "subclass of datetime": (Stamp(*UTC_STAMP, tzinfo=datetime.UTC), b'"2026-01-02T03:04:05Z"'),
    "date": (datetime.date(2026, 1, 2), b'"2026-01-02"'),
    "uuid": (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    "decimal": (Decimal("1.50"), b'"1.50"'),
    "enum": ([Colour.RED, {Colour.RED: 1}], b'["red",{"red":1}]'),
    "named tuple": (Order(1, ("a",)), b'[1,["a"]]'),
    "bytes": (b"ab", b'"YWI="'),
    "set": ({1}, b"[1]"),
    "deque": (deque([1]), b"[1]"),
    "range and views": ([range(2), {"a": 1}.keys(), {"a": 1}.values()], b'[[0,1],["a"],[1]]'),
    "array": (array("i", [1, 2]), b"[1,2]"),
    "mapping proxy": (MappingProxyType({"a": 1}), b'{"a":1}'),
    "chain map": (ChainMap({"a": 1}), b'{"a":1}'),
    "subclasses": ([Text("a"), Number(3), Scalar(1.5), {Text("k"): Number(1)}], b'["a",3,1.5,{"k":1}]'),
    "keys as the standard library writes them": (
        {True: 1, None: 2, 3: 3, 1.5: 4},
        b'{"true":1,"null":2,"3":3,"1.5":4}',
    ),
    "path": (PurePosixPath("/a/b"), b'"/a/b"'),
    "address": (ip_address("::1"), b'"::1"'),
    "model": (Model(), b'{"mode":"json"}'),
    "null beside a subclass": ([None, Text("a")], b'[null,"a"]'),
    "the ends of 64 bits": ([2**63 - 1, -(2**63)], b"[9223372036854775807,-9223372036854775808]"),
    "32 levels": (deep(31), b"[" * 32 + b"]" * 32),
}


@pytest.mark.parametrize(("value", "text"), KEPT.values(), ids=KEPT.keys())
def test_what_encoders_take_as_json_is_kept(value: Any, text: bytes) -> None:
    assert returned(value, 1 << 20) == Succeeded(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(st.characters(codec=None)),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text("ab1\0", max_size=2) | st.integers(0, 2), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_results_obey_the_rules_of_requests(value: Any) -> None:
    ending = returned(value, 1 << 20)
    if isinstance(ending, Succeeded):
        assert equal(strict_json.parse(ending.result_json), json_values.decode(ending.result_json))
        return
    try:
        text = json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return
    with pytest.raises(StrictJsonError):
        strict_json.parse(text)
    with pytest.raises(ValueError, match=r"."):
        json_values.decode(text)


def equal(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


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
    assert "the job was not cancelled" in raised(asyncio.CancelledError()).error.message


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
    assert ending.error.message == "the attempt exceeded its timeout of 1.5 s"
    assert (ending.error.retryable, ending.error.traceback) == (True, "where\ufffd")
