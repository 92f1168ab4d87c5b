"""Payloads as they are sent, kinds of handlers, results as they are annotated."""

import enum
import functools
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from acked_client import ResultMismatch
from acked_client.core.json_text import encode, kind_of, result_of


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Order:
    number: int
    day: date


class Model:
    """As pydantic models are read and written."""

    def __init__(self, name: str) -> None:
        self.name = name

    def model_dump(self, mode: str) -> dict[str, str]:
        return {"name": self.name, "mode": mode}

    @classmethod
    def model_validate(cls, value: Any) -> "Model":
        if not isinstance(value, dict):
            raise ValueError("not a model")
        return cls(value["name"])


def serving(*kinds: str) -> Any:
    def mark(function: Any) -> Any:
        function.__acked_kinds__ = kinds
        return function

    return mark


@serving("order")
async def order(ctx: Any, payload: Any) -> Order:
    raise NotImplementedError


@serving("plain")
def plain(ctx: Any, payload: Any) -> "dict[int, datetime] | None":
    raise NotImplementedError


@serving("deferred")
def deferred(ctx: Any, payload: Any) -> Coroutine[Any, Any, int]:
    raise NotImplementedError


@serving("model")
def model(ctx: Any, payload: Any) -> Model:
    raise NotImplementedError


@serving("bare")
def bare(ctx, payload):  # type: ignore[no-untyped-def]
    raise NotImplementedError


@serving("unresolved")
def unresolved(ctx: Any, payload: Any) -> "Missing":  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def test_values_are_encoded_as_json() -> None:
    value = {"order": Order(7, date(2026, 11, 24)), "id": UUID(int=1), "colour": Colour.RED, 5: (1.5, None, "é")}
    assert (
        encode(value)
        == (
            '{"order":{"number":7,"day":"2026-11-24"},"id":"00000000-0000-0000-0000-000000000001","colour":"red",'
            '"5":[1.5,null,"é"]}'
        ).encode()
    )
    assert encode(Model("Ada")) == b'{"name":"Ada","mode":"json"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}, "\ud800"])
def test_values_that_would_change_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        encode(value)


def test_values_without_a_json_form_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        encode(object())


def test_results_have_the_type_of_the_handler() -> None:
    assert result_of(order, {"number": 7, "day": "2026-11-24", "added": 1}) == Order(7, date(2026, 11, 24))
    assert result_of(plain, {"5": "2026-11-24T10:00:00Z"}) == {5: datetime(2026, 11, 24, 10, tzinfo=UTC)}
    assert result_of(plain, None) is None
    assert result_of(deferred, 7) == 7
    assert result_of(model, {"name": "Ada"}).name == "Ada"
    assert result_of(bare, {"any": 1}) == {"any": 1}
    assert result_of("order", {"number": "x"}) == {"number": "x"}


def test_result_that_does_not_fit_keeps_its_value() -> None:
    for handler, value in ((order, {"number": "x"}), (model, 5)):
        with pytest.raises(ResultMismatch) as caught:
            result_of(handler, value)
        assert caught.value.result == value


def test_annotation_that_is_missing_at_run_time_is_told() -> None:
    with pytest.raises(TypeError, match="TYPE_CHECKING"):
        result_of(unresolved, 1)


def test_handlers_name_their_kinds() -> None:
    @functools.wraps(order)
    async def traced(ctx: Any, payload: Any) -> Order:
        return await order(ctx, payload)  # type: ignore[no-any-return]

    assert kind_of(order) == kind_of(traced) == "order"
    assert kind_of("other") == "other"
    with pytest.raises(TypeError, match="several kinds"):
        kind_of(serving("a", "b")(lambda ctx, payload: None))
    with pytest.raises(TypeError, match="not a handler"):
        kind_of(msgspec.json.encode)


def test_decorated_handler_is_known_without_its_package() -> None:
    from acked import registry
    from acked.kinds import demo

    kinds = registry.snapshot()
    assert kind_of(kinds["demo"].function if "demo" in kinds else demo.demo) == "demo"
