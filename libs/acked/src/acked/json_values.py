"""Strict JSON for values that handlers return, report or receive from elsewhere. Pure.

The rules are those of request bodies: integers in 64 signed bits, finite numbers, unique keys, no lone surrogates, no
NUL in a key, at most 32 levels. Parsers disagree on values that break one.
"""

import datetime
import ipaddress
import json
import math
import os
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import msgspec

MAX_DEPTH = 32
MAX_NUMBER_CHARS = 400
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def plain(value: Any) -> Any:
    """Convert a value that msgspec does not know into one that it can encode.

    Supported are subclasses of plain types, mappings, collections, numpy arrays and scalars, pydantic models, paths and
    addresses; as object keys also None, true and false. Raise `TypeError` for anything else. Types that msgspec encodes
    itself (dataclasses, dates, UUIDs, enums, …) never get here.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    for kind, exact in _EXACT.items():
        if isinstance(value, kind):
            return exact(value)
    if callable(found := getattr(value, "tolist", None)):
        return found()
    if callable(found := getattr(value, "model_dump", None)):
        return found(mode="json")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Collection) and not isinstance(value, type):
        return list(value)
    raise TypeError(f"{type(value).__qualname__} can't be encoded as JSON")


_EXACT: dict[Any, Any] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    datetime.datetime: lambda value: datetime.datetime.fromisoformat(value.isoformat()),
    datetime.date: lambda value: datetime.date.fromordinal(value.toordinal()),
    Decimal: str,
    UUID: str,
    ipaddress.IPv4Address: str,
    ipaddress.IPv6Address: str,
    ipaddress.IPv4Network: str,
    ipaddress.IPv6Network: str,
}

_encode = msgspec.json.Encoder(enc_hook=plain).encode


def encode(value: Any) -> bytes:
    """Encode a value as JSON. Raise `TypeError` or `ValueError` if it has no JSON form.

    The text may still break the rules on integers, keys and depth. `decode` checks them; for results the worker's
    faster
    strict parser does.
    """
    encoded = _encode(value)
    # msgspec writes NaN and the infinities as null.
    if b"null" in encoded:
        _refuse_not_finite(msgspec.to_builtins(value, enc_hook=plain))
    return encoded


def decode(text: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Decode a JSON text. Raise `ValueError` that names the broken rule."""
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_not_finite
        )
        msgspec.json.encode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = _containers([value])
    for _ in range(max_depth):
        if not level:
            break
        level = [below for each in level for below in _containers(each.values() if isinstance(each, dict) else each)]
    if level:
        raise ValueError(f"objects and arrays are nested deeper than {max_depth} levels")
    return value


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice in one object")
    if any("\0" in key for key in found):
        raise ValueError("a key contains the character NUL")
    return found


def _int(text: str) -> int:
    if len(text) > 20 or not INT_MIN <= int(text) <= INT_MAX:
        raise ValueError("an integer does not fit in 64 signed bits; use a string")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER_CHARS or not math.isfinite(number := float(text)):
        raise ValueError("a number is too large for a double; use a string")
    return number


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _refuse_not_finite(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            _not_finite(str(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_not_finite(key)
            _refuse_not_finite(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _refuse_not_finite(item)
