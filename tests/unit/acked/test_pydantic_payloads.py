"""Models of pydantic as payloads: intake goes by their JSON Schema, the worker by the model itself."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from acked import Context
from acked.definition import KindOptions, define, with_payload_type
from acked.payloads import PayloadType
from acked_common.model.payload_types import type_of
from acked_common.outcomes.outcome import raised
from acked_common.outcomes.payload import PayloadNotTaken, typed_payload


class Line(BaseModel):
    price: Annotated[float, Field(ge=0)]
    sku: Annotated[str, Field(pattern="^[a-z]+$", alias="stockUnit")]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    lines: list[Line] = []
    pays: Annotated["Card | Cash", Field(discriminator="by")] | None = None

    @field_validator("number")
    @classmethod
    def not_thirteen(cls, number: int) -> int:
        if number == 13:
            raise ValueError("no order has this number")
        return number


class Card(BaseModel):
    by: Literal["card"]
    digits: str


class Cash(BaseModel):
    by: Literal["cash"] = "cash"


@dataclass
class Holder:
    order: Order


def payload_of(annotation: Any) -> PayloadType:
    def function(ctx: Context, payload: Any) -> None: ...

    function.__annotations__["payload"] = annotation
    found = with_payload_type(define("k", function, KindOptions())).payload
    assert found is not None
    return found


def intake_takes(of: PayloadType, value: object) -> bool:
    try:
        msgspec.json.decode(json.dumps(value), type=type_of(json.loads(json.dumps(of.schema))))
    except msgspec.ValidationError:
        return False
    return True


GOOD = {"number": 7, "lines": [{"price": 1, "stockUnit": "abc"}], "pays": {"by": "card", "digits": "1"}}


@pytest.mark.parametrize("annotation", [Order, list[Order], dict[str, Order], Order | None, Holder], ids=str)
def test_models_are_found_wherever_they_stand(annotation: Any) -> None:
    sent = {"list": [GOOD], "dict": {"a": GOOD}}.get(getattr(annotation, "__name__", ""), GOOD)
    of = payload_of(annotation)
    value = {"order": GOOD} if annotation is Holder else sent
    assert intake_takes(of, value)
    found = of.convert(value)
    first = found.order if isinstance(found, Holder) else found
    first = (
        next(iter(first.values() if isinstance(first, dict) else first)) if isinstance(first, dict | list) else first
    )
    assert isinstance(first, Order)
    assert first.pays == Card(by="card", digits="1")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"number": "7"},
        {"number": 7, "more": 1},
        {"number": 7, "lines": [{"price": -1, "stockUnit": "a"}]},
        {"number": 7, "lines": [{"price": 1}]},
        {"number": 7, "pays": {"by": "cheque"}},
        {"number": 7, "pays": {"by": "card"}},
        [],
    ],
    ids=str,
)
def test_intake_refuses_what_the_schema_refuses(wrong: Any) -> None:
    assert not intake_takes(payload_of(Order), wrong)


@pytest.mark.parametrize(
    ("late", "pointer"),
    [
        ({"number": 13}, "/number"),
        ({"number": 7, "lines": [{"price": 1, "stockUnit": "ABC"}]}, "/lines/0/stockUnit"),
    ],
    ids=str,
)
def test_what_only_the_model_knows_fails_when_the_job_starts(late: Any, pointer: str) -> None:
    def function(ctx: Context, payload: Order) -> None: ...

    kind = with_payload_type(define("k", function, KindOptions()))
    assert kind.payload is not None and intake_takes(kind.payload, late)
    with pytest.raises(PayloadNotTaken) as refused:
        typed_payload(kind, late)
    failed = raised(refused.value)
    assert (failed.retryable, failed.error.type) == (False, "InvalidPayload")
    assert failed.error.message.startswith(f"the handler can't accept the payload: {pointer} can't be used: ")
