"""Values of durable calls as they are kept: JSON, decoded into what a function's return annotation says. Pure."""

import collections.abc
import inspect
import typing
from functools import partial
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from acked import json_values
from acked.durable.errors import InvalidResult, InvalidStep, ResultChanged

MAX_VALUE_BYTES = 1 << 20
_DIGEST_BYTES = 8
_PLAIN = frozenset({str, bool, type(None)})
"""Types of which every value that can be encoded is JSON that can be kept."""
_AWAITABLES = (collections.abc.Awaitable, collections.abc.Coroutine)
_known: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()


def return_type(function: Any) -> Any:
    """Return the type of a function's result: its return annotation, or `Any` without one.

    Raise `InvalidStep` for an annotation that can't be resolved, or into which JSON can't be decoded.
    """
    annotated = _annotated(function)
    if isinstance(annotated, type):
        return _checked(annotated, annotated)
    try:
        found = _known.get(annotated)
    except TypeError:
        return Any
    if found is None:
        found = _checked(annotated, _annotation(annotated))
        _known[annotated] = found
    return found


def _annotated(function: Any) -> Any:
    """Return the function, method or class whose return annotation counts."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if isinstance(function, type) or hasattr(function, "__annotations__"):
        return function
    call = vars(type(function)).get("__call__")
    return call if hasattr(call, "__annotations__") else function


def _annotation(function: Any) -> Any:
    raw = getattr(function, "__annotations__", {}).get("return", Any)
    holder = SimpleNamespace(
        __annotations__={"return": raw}, __globals__=getattr(inspect.unwrap(function), "__globals__", {})
    )
    try:
        found = typing.get_type_hints(holder, include_extras=True)["return"]
    except Exception as error:
        raise InvalidStep(
            f"the return annotation {raw!r} of {_name(function)} can't be resolved ({error}). Define or import its "
            "types at the top of the module, outside `if TYPE_CHECKING`"
        ) from None
    if typing.get_origin(found) in _AWAITABLES:
        found = typing.get_args(found)[-1]
    return type(None) if found is None else Any if found in (object, typing.NoReturn) else found


def _checked(function: Any, wanted: Any) -> Any:
    if wanted is Any:
        return wanted
    try:
        # The decoder checks what the description alone does not.
        msgspec.json.Decoder(wanted, dec_hook=_decode_other)
        unknown = _unknown(msgspec.inspect.type_info(wanted), set())
    except (TypeError, ValueError, NameError) as error:
        raise InvalidStep(_refused(function, wanted, str(error))) from None
    if unknown is not None:
        raise InvalidStep(_refused(function, wanted, f"JSON can't be decoded into {type_name(unknown)}"))
    return wanted


def _refused(function: Any, wanted: Any, why: str) -> str:
    return (
        f"{_name(function)} returns {type_name(wanted)}, which a step can't keep: {why}. Return JSON, a dataclass, a "
        "msgspec struct or a pydantic model, and annotate it as such"
    )


def _unknown(described: Any, seen: set[Any]) -> Any:
    """Return the first type inside a description that JSON can't be decoded into."""
    if isinstance(described, msgspec.inspect.CustomType):
        known = described.cls is object or callable(getattr(described.cls, "model_validate", None))
        return None if known else described.cls
    owner = getattr(described, "cls", None)
    if owner is not None:
        if owner in seen:
            return None
        seen.add(owner)
    parts: list[Any] = [field.type for field in getattr(described, "fields", ())]
    for name in ("type", "item_type", "key_type", "value_type"):
        if isinstance(part := getattr(described, name, None), msgspec.inspect.Type):
            parts.append(part)
    for name in ("types", "item_types"):
        parts += getattr(described, name, ())
    return next((found for part in parts if (found := _unknown(part, seen)) is not None), None)


def encode(value: Any, what: str) -> bytes:
    """Return the JSON text of a value. Raise `InvalidResult` if it is not JSON or too large."""
    try:
        encoded = json_values.encode(value)
    except Exception as error:
        raise InvalidResult(f"the result of {what} is not JSON: {error}. Return JSON values") from None
    if len(encoded) > MAX_VALUE_BYTES:
        raise InvalidResult(
            f"the result of {what} has {len(encoded):,} bytes of JSON, more than {MAX_VALUE_BYTES:,}; store it "
            "elsewhere and return a reference to it"
        )
    if type(value) in _PLAIN or (type(value) is int and json_values.INT_MIN <= value <= json_values.INT_MAX):
        # The encoder has checked all that `decode` would.
        return encoded
    try:
        json_values.decode(encoded)
    except ValueError as error:
        raise InvalidResult(f"the result of {what} is not JSON that can be kept: {error}") from None
    return encoded


def decode(kept: bytes, wanted: Any = Any) -> Any:
    """Decode a kept value. Raise `ValueError` if it does not fit the wanted type."""
    if wanted is Any:
        return msgspec.json.decode(kept)
    return msgspec.json.decode(kept, type=wanted, dec_hook=_decode_other)


def first_result(kept: bytes, wanted: Any, what: str) -> Any:
    """Decode the result of a function that has just run. Raise `InvalidResult` if it is not what it says."""
    try:
        return decode(kept, wanted)
    except ValueError as error:
        raise InvalidResult(
            f"{what} returned {shape_of(kept)}, and its annotation says {type_name(wanted)}: {error}. Correct "
            "one of them"
        ) from None


def kept_result(kept: bytes, wanted: Any, what: str) -> Any:
    """Decode a result of an earlier attempt. Raise `ResultChanged` if it does not fit any more."""
    try:
        return decode(kept, wanted)
    except ValueError as error:
        raise ResultChanged(what, shape_of(kept), type_name(wanted), str(error)) from None


def like(kept: bytes, example: Any) -> Any:
    """Decode a kept note into the type of `example`; as plain JSON if that does not fit."""
    try:
        return decode(kept, type(example))
    except (TypeError, ValueError):
        return decode(kept)


def digest_of_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return a digest of arguments; None if they are not JSON."""
    try:
        encoded = json_values.encode([args, dict(sorted(kwargs.items()))])
    except Exception:
        return None
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def shape_of(kept: bytes) -> str:
    """Describe a kept value for people: its JSON type, and the names of an object's first members."""
    value = decode(kept)
    if isinstance(value, dict):
        names = ", ".join(list(value)[:5])
        return f"an object with {names}" if names else "an empty object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return {str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def type_name(wanted: Any) -> str:
    """Return the name of a type for people."""
    return wanted.__qualname__ if isinstance(wanted, type) and not typing.get_args(wanted) else str(wanted)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _decode_other(wanted: Any, value: Any) -> Any:
    if wanted is object:
        return value
    if callable(validate := getattr(wanted, "model_validate", None)):
        try:
            return validate(value)
        except ValueError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"{type_name(wanted)} can't be decoded")
