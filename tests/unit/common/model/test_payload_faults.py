"""Where a payload differs from its type, as clients and operators read it."""

import enum
import json
import time
from typing import Any, Literal

import msgspec
import pytest

from acked.payload_schema import schema_of
from acked_common.model.payload_faults import MAX_LOOKS, fault_at, fault_of, pointer_of
from acked_common.model.payload_types import type_of


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Box(msgspec.Struct, tag="box"):
    side: float


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    level: Level = Level.LOW
    shape: Circle | Box | None = None
    prices: dict[str, int] = {}
    nested: dict[str, list[dict[str, int]]] = {}
    by_number: dict[int, str] = {}
    row: tuple[int, str] = (1, "a")
    kind: Literal[1, 2] = 1
    a_b: dict[str, Any] = msgspec.field(name="a.b", default={})
    at: msgspec.UnsetType | None = None


def fault(value: Any, *, of: Any = Payload) -> tuple[str, str] | None:
    """What intake says, which knows the stored schema alone."""
    schema = json.loads(json.dumps(schema_of(of)))
    built = type_of(schema)

    def convert(value: Any) -> object:
        return msgspec.convert(value, built, str_keys=True)

    try:
        convert(value)
    except msgspec.ValidationError as error:
        return tuple(fault_of(str(error), value, convert, schema))  # type: ignore[return-value]
    return None


@pytest.mark.parametrize(
    ("value", "pointer", "detail"),
    [
        ({"name": 7}, "/name", "must be a text, not a whole number"),
        ({"name": True}, "/name", "must be a text, not true or false"),
        ({}, "/name", "is missing; expected a text"),
        ({"name": "a", "more/~": 1}, "/more~1~0", "is not a known field"),
        ([], "", "must be an object, not an array"),
        ({"name": "a", "level": "middle"}, "/level", 'has an unknown value; expected "low", "high"'),
        ({"name": "a", "kind": 3}, "/kind", "has an unknown value; expected 1, 2"),
        ({"name": "a", "shape": {"type": "ring"}}, "/shape/type", 'has an unknown value; expected "circle", "box"'),
        ({"name": "a", "shape": {"radius": 1}}, "/shape/type", 'is missing; expected "circle", "box"'),
        ({"name": "a", "shape": {"type": "box", "side": "1"}}, "/shape/side", "must be a number, not a text"),
        ({"name": "a", "shape": 1}, "/shape", "must be an object or null, not a whole number"),
        (
            {"name": "a", "prices": {"x": 1, "y/z": 1.5, "w": 2}},
            "/prices/y~1z",
            "must be a whole number, not a decimal number",
        ),
        (
            {"name": "a", "nested": {"k": [], "l": [{"m": 1}, {"n": 1, "o": None}], "p": []}},
            "/nested/l/1/o",
            "must be a whole number, not null",
        ),
        (
            {"name": "a", "by_number": {"1": "a", "x": "b"}},
            "/by_number",
            "has a key that must be a whole number, not a text",
        ),
        ({"name": "a", "row": [1]}, "/row", "must be an array of at least length 2, not 1"),
        ({"name": "a", "row": [1, 2]}, "/row/1", "must be a text, not a whole number"),
        ({"name": "a", "a.b": 1}, "/a.b", "must be an object, not a whole number"),
    ],
    ids=str,
)
def test_a_fault_has_a_pointer_and_says_what_was_expected(value: Any, pointer: str, detail: str) -> None:
    found = fault(value)
    assert found is not None
    assert found == (pointer, detail)


def test_a_value_of_the_type_has_no_fault() -> None:
    assert fault({"name": "a", "shape": {"type": "box", "side": 1}, "prices": {"a": 1}}) is None


def test_the_search_for_a_key_is_bounded() -> None:
    looks = 0

    def convert(value: Any) -> object:
        nonlocal looks
        looks += 1
        return msgspec.convert(value, dict[str, dict[str, int]])

    # Each level takes seventeen looks: the bound ends the search in the fourth of these.
    value = {"a": {f"k{n}": n for n in range(100_000)} | {"wrong": "x"}}
    with pytest.raises(msgspec.ValidationError) as raised:
        convert(value)
    began = time.monotonic()
    found = fault_of(str(raised.value), value, convert)
    assert found.pointer == "/a/wrong"
    assert looks <= MAX_LOOKS + 1
    assert time.monotonic() - began < 30.0


def test_a_path_of_pydantic_names_only_what_the_payload_has() -> None:
    value = {"items": [{"price": "x"}]}
    # `Cheap` is a branch of a union.
    assert fault_at(("items", 0, "Cheap", "price"), "Input should be a valid number", value) == (
        "/items/0/price",
        "can't be used: Input should be a valid number",
    )
    assert fault_at(("items", 0, "name"), "Field required", value)[0] == "/items/0/name"


def test_a_pointer_is_escaped_and_bounded() -> None:
    assert pointer_of(["a/b", "c~d", 3]) == "/a~1b/c~0d/3"
    assert pointer_of([]) == ""
    assert pointer_of(["a", "b" * 1000]) == "/a"
