"""The type of a payload, from the handler's annotation."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from acked import Context, handler, registry
from acked.definition import KindOptions, define, with_payload_type
from acked.payload_schema import DIALECT
from acked.payloads import PayloadRefused, UntypedPayload, payload_type_of
from acked.testing import LongWork

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Line(msgspec.Struct, rename="camel"):
    """One line of an order."""

    unit_price: Annotated[float, msgspec.Meta(ge=0)]
    count: int = 1


@dataclass
class Order:
    number: int
    lines: list[Line]
    at: datetime.datetime | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("no order has this number")


class Named(TypedDict):
    name: str


async def typed(ctx: Context, payload: Order) -> None: ...


def test_a_schema_says_what_the_annotation_says() -> None:
    found = payload_type_of(typed)
    assert found is not None
    assert found.schema == {
        "$schema": DIALECT,
        "$ref": "#/$defs/Order",
        "$defs": {
            "Order": {
                "title": "Order",
                "type": "object",
                "properties": {
                    "number": {"type": "integer"},
                    "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
                    "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "default": None},
                    "notes": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["number", "lines"],
            },
            "Line": {
                "title": "Line",
                "description": "One line of an order.",
                "type": "object",
                "properties": {
                    "unitPrice": {"type": "number", "minimum": 0},
                    "count": {"type": "integer", "default": 1},
                },
                "required": ["unitPrice"],
            },
        },
    }


def test_a_payload_becomes_the_typed_value() -> None:
    found = payload_type_of(typed)
    assert found is not None
    sent = {"number": 7, "lines": [{"unitPrice": 2, "more": 1}], "at": "2026-11-29T08:00:00Z"}
    assert found.convert(sent) == Order(7, [Line(2.0)], datetime.datetime(2026, 11, 29, 8, tzinfo=datetime.UTC))


@pytest.mark.parametrize(
    "wrong",
    [{"number": "7", "lines": []}, {"number": 13, "lines": []}, {"number": 7.0, "lines": []}, [], None],
    ids=str,
)
def test_a_payload_of_another_type_is_refused(wrong: object) -> None:
    found = payload_type_of(typed)
    assert found is not None
    with pytest.raises(PayloadRefused):
        found.convert(wrong)


def _untyped(ctx: Context, payload) -> None: ...  # type: ignore[no-untyped-def]


def _any(ctx: Context, payload: Any) -> None: ...


def _object(ctx: "Unknown", payload: object) -> "Unknown": ...


def _rest(*both: Any) -> None: ...


@pytest.mark.parametrize("function", [_untyped, _any, _object, _rest])
def test_a_handler_without_a_type_has_none(function: Any) -> None:
    assert payload_type_of(function) is None
    assert with_payload_type(define("k", function, KindOptions())).payload is None


def _hidden(ctx: Context, payload: "Unknown") -> None: ...


class Strange:
    pass


def _strange(ctx: Context, payload: Strange) -> None: ...


def _within(ctx: Context, payload: dict[str, list[Strange]]) -> None: ...


@pytest.mark.parametrize("function", [_hidden, _strange, _within])
def test_an_annotation_that_has_no_json_form_is_named(function: Any) -> None:
    with pytest.raises(UntypedPayload, match=r"Unknown|Strange"):
        payload_type_of(function)


@pytest.mark.parametrize(
    ("annotation", "sent", "taken"),
    [
        (dict, {"a": 1}, {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Mapping[str, float], {"a": 1}, {"a": 1.0}),
        (list[Named], [{"name": "Ada", "more": 1}], [{"name": "Ada"}]),
        (int | None, None, None),
    ],
    ids=str,
)
def test_builtins_and_generics_are_types_too(annotation: Any, sent: object, taken: object) -> None:
    def function(ctx: Context, payload: Any) -> None: ...

    function.__annotations__["payload"] = annotation
    found = payload_type_of(function)
    assert found is not None and found.schema is not None
    assert found.convert(sent) == taken


def test_the_name_of_a_later_class_is_resolved_once_all_is_loaded() -> None:
    before = registry.snapshot()
    try:

        @handler("test.later-class")
        def later(ctx: Context, payload: "Later") -> None: ...

        found = with_payload_type(registry["test.later-class"]).payload
        assert found is not None
        assert found.convert({"seconds": 1}) == Later(1)
    finally:
        registry.restore(before)


class Later(msgspec.Struct):
    seconds: int


async def test_the_kit_converts_as_a_worker_does() -> None:
    async def greets(ctx: Context, payload: Named) -> str:
        def greeting() -> str:
            return f"Hello, {payload['name']}"

        return await ctx.step("greet", greeting)

    async with LongWork(greets, {"name": "Ada", "more": 1}) as job:
        await job.until_parked()
        assert job.result == "Hello, Ada"
    async with LongWork(greets, {"name": 7}) as job:
        await job.until_parked()
        assert job.error is not None and (job.state, job.error["retryable"]) == ("failed", False)
        told = (job.error["type"], job.error["message"])
        assert told == (
            "InvalidPayload",
            "the handler can't accept the payload: /name must be a text, not a whole number",
        )


async def test_the_kit_sends_an_object_where_no_payload_is_given() -> None:
    async def works(ctx: Context, payload: dict) -> object:  # type: ignore[type-arg]
        return payload

    async def takes_null(ctx: Context, payload: int | None) -> object:
        return payload

    for handler_, expected in ((works, {}), (takes_null, None)):
        async with LongWork(handler_) as job:
            await job.until_parked()
            assert job.result == expected
