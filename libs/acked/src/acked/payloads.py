"""The type of a handler's payload: its JSON Schema, and the conversion of a decoded payload to it.

It is derived from the annotation of the handler's second parameter once all modules are imported, since annotations may
name types that are defined further down. msgspec converts structs, dataclasses, TypedDicts and builtins; a type that
contains a pydantic model is left to pydantic, which is only used if the handler's own code has imported it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import msgspec

from acked.payload_schema import DIALECT, Schema, Underivable, schema_of

_UNTYPED = (inspect.Parameter.empty, Any, object)
PathItem = str | int


class PayloadRefused(ValueError):
    """The payload is not of the type. `path` leads to the fault if it is known; else the message says where."""

    def __init__(self, message: str, path: tuple[PathItem, ...] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class PayloadType:
    """What a handler takes. `schema` is None if the type has none; then only the worker checks payloads."""

    convert: Callable[[object], object]
    """Return the typed value of a decoded JSON value. Raise `PayloadRefused`, and whatever the type itself raises."""
    schema: Mapping[str, Any] | None


class UntypedPayload(Exception):
    """The annotation can't be used, so the handler gets the decoded JSON; the message says why."""


def payload_type_of(function: Callable[..., Any]) -> PayloadType | None:
    """Return the type of a handler's payload; None without an annotation, or with `Any` or `object`.

    Raise `UntypedPayload`.
    """
    annotation = _annotation(inspect.unwrap(function))
    if annotation in _UNTYPED:
        return None
    if _is_pydantic(annotation):
        return _of_pydantic(annotation)
    try:
        return PayloadType(_converting(annotation), schema_of(annotation))
    except Underivable as error:
        if _is_pydantic(error.cls):
            return _of_pydantic(annotation)
        raise UntypedPayload(str(error)) from None


def _annotation(function: Callable[..., Any]) -> Any:
    """Return the annotation of the second parameter, with names resolved."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind in positional]
    if len(parameters) < 2:
        return inspect.Parameter.empty
    found = parameters[1].annotation
    if found is inspect.Parameter.empty:
        return found
    # Of this parameter alone: the others may name types that only a type checker imports.
    holder = type("Payload", (), {"__annotations__": {"payload": found}})
    try:
        return get_type_hints(holder, globalns=getattr(function, "__globals__", {}), include_extras=True)["payload"]
    except Exception as error:
        raise UntypedPayload(f"{type(error).__name__}: {error}") from None


def _converting(annotation: Any) -> Callable[[object], object]:
    def convert(value: object) -> object:
        try:
            return msgspec.convert(value, annotation, str_keys=True)
        except msgspec.ValidationError as error:
            raise PayloadRefused(str(error)) from None

    return convert


def _is_pydantic(annotation: Any) -> bool:
    """Return whether a type is, or is made of, a class that pydantic validates."""
    return hasattr(annotation, "__pydantic_validator__") or any(map(_is_pydantic, get_args(annotation)))


def _of_pydantic(annotation: Any) -> PayloadType:
    pydantic = sys.modules["pydantic"]
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except Exception as error:
        raise UntypedPayload(f"{type(error).__name__}: {error}") from None

    def convert(value: object) -> object:
        try:
            # As JSON: a strict model takes a date from a JSON text, and refuses it from a Python one.
            return adapter.validate_json(msgspec.json.encode(value))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise PayloadRefused(str(first["msg"]), tuple(first["loc"])) from None

    return PayloadType(convert, _schema_of_adapter(adapter))


def _schema_of_adapter(adapter: Any) -> Schema | None:
    try:
        return {"$schema": DIALECT, **adapter.json_schema(mode="validation")}
    except Exception:
        # A type of the user's own without a JSON form. The model still checks the payload.
        return None
