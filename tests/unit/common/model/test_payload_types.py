"""Intake and workers agree: a payload that the type of a stored schema takes is one that the handler's type takes.

The types are made at random from those of which handlers' payloads are made, and so are values near them.
"""

import datetime
import enum
import json
import math
from dataclasses import make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict, Union
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from acked.payload_schema import schema_of
from acked_common.model.payload_types import UnusableSchema, type_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    ONE = 1
    TWO = 2


class Lenient(enum.Enum):
    KNOWN = "known"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient | None":
        return cls.KNOWN if value == "other" else None


class Square(msgspec.Struct, tag="square"):
    side: float
    inner: "Square | Disc | None" = None


class Disc(msgspec.Struct, tag="disc", forbid_unknown_fields=True):
    radius: int
    inner: "list[Square | Disc]" = []


class Tree(msgspec.Struct):
    name: str
    below: "list[Tree]" = []
    by_name: "dict[str, Tree]" = {}


class Row(msgspec.Struct, array_like=True):
    number: int
    text: str = ""


class ClosedRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    number: int
    flag: bool | None = None


class Place(NamedTuple):
    x: int
    y: float = 0.0


class Partial(TypedDict):
    id: UUID
    note: NotRequired[str]


SCALARS: list[Any] = [
    int, bool, float, str, None, Any, bytes, Decimal, UUID, datetime.date, datetime.datetime, datetime.time,
    datetime.timedelta, Colour, Size, Literal["a", "b"], Literal[1, "a", None], Literal["only"],
    Annotated[int, Meta(ge=0, lt=10)], Annotated[int, Meta(gt=2**53)], Annotated[float, Meta(le=1.5)],
    Annotated[int, Meta(multiple_of=3)], Annotated[str, Meta(min_length=1, max_length=3, description="short")],
    Annotated[datetime.datetime, Meta(tz=True)], Annotated[datetime.datetime, Meta(tz=False)],
    Annotated[datetime.time, Meta(tz=True)], Annotated[datetime.time, Meta(tz=False)],
    int | None, str | int | None, int | float, Lenient, Square, Disc, Square | Disc,
    Square | Disc | None, Tree, Row, ClosedRow,
    Place, Partial, tuple[int, str], dict, list, datetime.datetime | int,
]  # fmt: skip
KEYS: list[Any] = [str, int, float, UUID, datetime.date, Colour, Literal["a", "b"]]


def _record(fields: list[tuple[str, Any, bool]], how: str) -> Any:
    names = {name: (of, required) for name, of, required in fields}
    ordered = sorted(names.items(), key=lambda one: not one[1][1])
    if how == "dataclass":
        return make_dataclass("Made", [(n, of) if r else (n, of, None) for n, (of, r) in ordered])
    if how == "typed-dict":
        return TypedDict("Made", {n: of if r else NotRequired[of] for n, (of, r) in ordered})  # type: ignore[operator]
    declared = [(n, of) if r else (n, of, None) for n, (of, r) in ordered]
    return msgspec.defstruct("Made", declared, forbid_unknown_fields=how == "closed", rename="camel")


def _containers(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    field = st.tuples(st.sampled_from(["a", "b_c", "d"]), of, st.booleans())
    return st.one_of(
        of.map(lambda one: list[one]),
        of.map(lambda one: tuple[one, ...]),
        of.map(lambda one: Annotated[list[one], Meta(max_length=2)]),
        st.tuples(st.sampled_from(KEYS), of).map(lambda two: dict[two[0], two[1]]),
        st.tuples(of, of).map(lambda two: tuple[two[0], two[1]]),
        st.tuples(st.lists(field, max_size=3), st.sampled_from(["struct", "closed", "dataclass", "typed-dict"])).map(
            lambda made: _record(*made)
        ),
    )


TYPES = st.recursive(st.sampled_from(SCALARS), _containers, max_leaves=5)
WORDS = [
    "", "a", "b", "red", "known", "only", "other", "1", "-7", "1.5", "01", "aGk=", "aGk", "P1D", "P1Y", "-PT1.5S",
    "2026-11-29", "2026-02-30", "2026-11-29T08:00:00", "2026-11-29T08:00:00Z", "2026-11-29 08:00:00+01:00",
    "2026-11-29T08:00:00.123456789-0330", "2026-11-29T08:00", "08:00:00", "08:00:00Z", "25:00:00", "NaN", "1e5",
    "8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e40d543ddbc936894a57f9324", "\u00e9\U0001f600", "x" * 40,
]  # fmt: skip
TEXTS = st.sampled_from(WORDS)
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, 1.0, 1.5, -0.0, 1e300, 2.0**53])
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
NAMES = st.sampled_from(
    ["a", "bC", "b_c", "d", "type", "side", "radius", "inner", "name", "below", "byName", "id", "note", "1", "x"]
)
VALUES = st.recursive(
    LEAVES, lambda of: st.one_of(st.lists(of, max_size=3), st.dictionaries(NAMES, of, max_size=4)), max_leaves=8
)


ALL: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, 1.0, 1.5, -0.0, 1e300, 2.0**53),
    *WORDS,
    *([], [1], [1, "a"], [1, True], [1, None], [1, 2.5], [1, "a", None], ["a"], [[1]], {}, {"a": 1}, {"1": 1.0}),
    *({"type": "square", "side": 1, "inner": {"type": "disc", "radius": 2}}, {"type": "square", "side": "1"}),
    *({"type": "disc", "radius": 1}, {"type": "disc", "radius": 1, "more": 2}, {"radius": 1}, {"side": 1.5}),
    *(
        {"type": "disc", "radius": 1, "inner": [{"type": "square", "side": 1}]},
        {"type": "disc", "radius": 1, "inner": [{}]},
    ),
    *({"type": "ring", "radius": 1}, {"name": "a", "below": [{"name": "b"}], "by_name": {"c": {"name": "d"}}}),
    *({"name": "a", "below": [{"name": 1}]}, {"id": "8e03978e-40d5-43dd-bc93-6894a57f9324", "more": 1}, {"id": 1}),
]


def takes(of: Any, value: Any) -> bool:
    """Whether the worker converts the value."""
    try:
        msgspec.convert(value, of, str_keys=True)
    except msgspec.ValidationError:
        return False
    return True


TAKEN = [(of, [value for value in ALL if takes(of, value)]) for of in SCALARS]


def _near(of: Any) -> st.SearchStrategy[Any]:
    """Return values of which most are of the type, and most of the others nearly."""
    for one, taken in TAKEN:
        if one is of:
            return st.one_of(st.sampled_from(taken), st.sampled_from(taken), LEAVES)
    args = getattr(of, "__args__", ())
    origin = getattr(of, "__origin__", None)
    if origin is Union or type(of).__name__ == "UnionType":
        return st.one_of([_near(one if one is not type(None) else None) for one in args])
    if origin is list or (origin is tuple and args[-1] is Ellipsis):
        return st.one_of(st.lists(_near(args[0]), max_size=3), VALUES)
    if origin is tuple:
        return st.one_of(st.tuples(*map(_near, args)).map(list), VALUES)
    if origin is dict:
        return st.one_of(st.dictionaries(st.one_of(TEXTS, NAMES), _near(args[1]), max_size=3), VALUES)
    if hasattr(of, "__annotations__") and getattr(of, "__name__", "") == "Made":
        names = {"b_c": "bC"} if issubclass(of, msgspec.Struct) else {}
        parts = {names.get(name, name): _near(_bare(part)) for name, part in of.__annotations__.items()}
        return st.one_of(
            st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional={**parts, "more": LEAVES}), VALUES
        )
    return st.one_of(LEAVES, VALUES)


def _bare(of: Any) -> Any:
    return of.__args__[0] if getattr(of, "__origin__", None) is NotRequired else of


def decodes(of: Any, value: Any) -> bool:
    """Whether intake takes the text of the value."""
    try:
        msgspec.json.decode(json.dumps(value), type=of)
    except msgspec.ValidationError:
        return False
    return True


def stored(of: Any) -> Any:
    return json.loads(json.dumps(schema_of(of)))


@pytest.mark.parametrize("of", SCALARS, ids=str)
def test_each_type_agrees_on_each_value(of: Any) -> None:
    built = type_of(stored(of))
    # What a member of an enum is, may be decided by the class: intake knows that it is a text.
    is_wider = of is Lenient
    for value in ALL:
        assert decodes(built, value) == takes(built, value), value
        assert decodes(built, value) == takes(of, value) or (is_wider and isinstance(value, str)), value


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_intake_takes_exactly_what_the_worker_converts(data: st.DataObject) -> None:
    of = data.draw(TYPES.filter(lambda one: "Lenient" not in repr(one)))
    built = type_of(stored(of))
    for value in data.draw(st.lists(_near(of), min_size=1, max_size=5)):
        assert decodes(built, value) == takes(of, value), (of, stored(of), value)
        assert takes(built, value) == takes(of, value), (of, stored(of), value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/missing"},
        {"type": "array", "minItems": "one"},
        {"$ref": "#/$defs/A", "$defs": {"A": 1}},
    ],
    ids=str,
)
def test_a_schema_of_another_origin_is_unusable(schema: dict[str, Any]) -> None:
    with pytest.raises(UnusableSchema):
        type_of(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, 1),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "!"),
        ({"type": "string", "format": "email"}, "not one"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}]}, 1),
        ({"not": {}}, 1),
        ({"type": "string", "format": "duration"}, "P1Y"),
        ({"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]}, {}),
    ],
    ids=str,
)
def test_what_a_schema_says_more_is_left_to_the_worker(schema: dict[str, Any], value: Any) -> None:
    assert decodes(type_of(schema), value)


def test_unions_that_contain_each_other_take_linear_time() -> None:
    """A validator that tries each branch of `anyOf` would need two to the power of thirty steps for this."""
    built = type_of(stored(Square | Disc))
    value: Any = {"type": "disc", "radius": "wrong"}
    for _ in range(30):
        value = {"type": "disc", "radius": 1, "inner": [value]}
    assert not decodes(built, value)


def test_integers_keep_their_digits() -> None:
    assert decodes(type_of(stored(int)), 2**53 + 1)
    assert msgspec.convert(2**53 + 1, int) == 2**53 + 1
    assert math.isclose(msgspec.convert(2**53 + 1, float), 2.0**53)
