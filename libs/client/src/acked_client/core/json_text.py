"""JSON as the services take it, and results as handlers annotate them. Pure."""

import collections.abc
import inspect
import json
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from acked_client.model.errors import ResultMismatch, UnexpectedResponse

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """Encode a value as JSON: plain values, dataclasses, msgspec structs, pydantic models, dates, UUIDs and enums.

    Raise `TypeError` for what has no JSON form, and `ValueError` for NaN, infinities and lone surrogates, which other
    encoders change silently.
    """
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    return json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} can't be encoded as JSON")


def decode(body: bytes, into: type[T], status: int) -> T:
    """Decode the body of a response. Raise `UnexpectedResponse` if it is not what the API describes."""
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnexpectedResponse(
            f"the response with status {status} is not a {into.__name__} of Acked: {error}", status=status
        ) from None


def kind_of(handler: Callable[[Any, Any], Any] | str) -> str:
    """Return the kind that a handler serves; a name is returned as it is. Raise `TypeError` for another function."""
    if isinstance(handler, str):
        return handler
    kinds: tuple[str, ...] = getattr(handler, "__acked_kinds__", ())
    if len(kinds) == 1:
        return kinds[0]
    name = getattr(handler, "__qualname__", repr(handler))
    if kinds:
        raise TypeError(f"{name} serves several kinds ({', '.join(kinds)}): pass the name of one")
    raise TypeError(f"{name} is not a handler: decorate it with @handler, or pass the name of its kind")


def result_of(handler: Callable[[Any, Any], Any] | str, result: Any) -> Any:
    """Convert the JSON result of a job into the return type of its handler. Raise `ResultMismatch`."""
    if isinstance(handler, str):
        return result
    annotated = _return_type(handler)
    if annotated is Any:
        return result
    try:
        return msgspec.convert(result, type=annotated, str_keys=True, dec_hook=_convert)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise ResultMismatch(
            f"the result is not a {annotated!r}, which {kind_of(handler)} returns: {error}", result
        ) from None


def _return_type(handler: Callable[[Any, Any], Any]) -> Any:
    try:
        found = typing.get_type_hints(inspect.unwrap(handler), include_extras=True).get("return", Any)
    except Exception as error:
        raise TypeError(
            f"the annotations of {kind_of(handler)} can't be resolved ({error}): import their types at the top of its "
            "module, outside `if TYPE_CHECKING`, or submit by the name of the kind"
        ) from None
    # A plain function that returns a coroutine.
    if typing.get_origin(found) in (collections.abc.Coroutine, collections.abc.Awaitable):
        found = typing.get_args(found)[-1]
    return found


def _convert(wanted: Any, value: Any) -> Any:
    if callable(validate := getattr(wanted, "model_validate", None)):
        return validate(value)
    raise TypeError(f"JSON can't be converted into {wanted!r}")
