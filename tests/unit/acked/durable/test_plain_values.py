"""Plain values and names take a short way, with the same outcome as the long one."""

from enum import StrEnum
from typing import Any

import pytest

from acked import json_values
from acked.durable.errors import InvalidResult, InvalidStep
from acked.durable.identity import identity_of
from acked.durable.results import decode, encode


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, json_values.INT_MAX, json_values.INT_MIN, "", "ü", "a\0b", "null", 1.5, [1], Colour.RED],
)
def test_kept_value_is_what_json_decodes(value: Any) -> None:
    encoded = encode(value, "step a")
    assert json_values.decode(encoded) == decode(encoded) == value


@pytest.mark.parametrize(
    "value", [json_values.INT_MAX + 1, json_values.INT_MIN - 1, 2**70, "\ud800", float("nan"), {"\0": 1}]
)
def test_value_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidResult):
        encode(value, "step a")


def test_deep_value_is_refused_and_a_flat_one_is_quick() -> None:
    deep: Any = 1
    for _ in range(json_values.MAX_DEPTH):
        deep = [deep]
    assert decode(encode(deep, "step a")) == deep
    with pytest.raises(InvalidResult, match="deeper"):
        encode([deep], "step a")


def test_keys_of_equal_value_and_other_type_are_other_keys() -> None:
    keys: list[Any] = [None, 1, True, "1", "true", 1.0, 0, False]
    for _ in range(2):
        found = [identity_of("a", key) for key in keys]
        assert len({identity.text for identity in found}) == len({identity.digest for identity in found}) == len(keys)


@pytest.mark.parametrize(("name", "key"), [("A", None), ("", 1), ("a", [1]), ("a", {}), ("a", 2**70), ("a", "x" * 300)])
def test_bad_name_or_key_is_refused_each_time(name: str, key: Any) -> None:
    for _ in range(2):
        with pytest.raises(InvalidStep):
            identity_of(name, key)
