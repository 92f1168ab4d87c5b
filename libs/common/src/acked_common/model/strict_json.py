"""Strict JSON: accepted texts mean the same to every reader, and can be stored, forwarded and shown. Pure.

Refused, in addition to invalid JSON: text that isn't UTF-8, a byte order mark, one key twice in an object, integers
outside 64 signed bits, numbers that overflow or are longer than 400 characters, lone surrogates, NUL in a key, and
nesting beyond the limit. Numbers retain their text; only their range is checked.

The common case is one pass of a C decoder and a few searches that prove the other rules. If they prove nothing,
`JsonScanner` decides, and reports the position and the rule. Both take time linear in the length of the text.
"""

from typing import Any

import msgspec

from acked_common.model.json_scanner import INT_MAX, INT_MIN, MAX_NUMBER_CHARS, JsonScanner, StrictJsonError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "SCANNED_ON_LOOP_BYTES", "NeedsScan", "StrictJsonError", "parse"]

MAX_DEPTH = 32
MAX_BYTES = 256 * 1024
SCANNED_ON_LOOP_BYTES = 1024
"""The slow scan of a text of this size takes less than a millisecond."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_DIGITS_AS_ZEROS = bytes(ord("0") if chr(i).isdigit() and i < 128 else ord(" ") for i in range(256))
# An integer with fewer digits fits in 64 bits.
_SUSPECT_DIGITS = b"0" * 19
# A number has at most three runs of digits, so one that is too long has a run of at least this length.
_TOO_MANY_DIGITS = b"0" * (MAX_NUMBER_CHARS // 3 - 2)


class NeedsScan(Exception):
    """The fast check can't decide; the slow scan takes up to a microsecond per byte."""


def parse(data: bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES, may_scan: bool = True) -> Any:
    """Parse a JSON text. Raises `StrictJsonError`, and `NeedsScan` unless `may_scan`; nothing else.

    `max_depth` counts the objects and arrays around a value: `[[1]]` has depth 2.
    """
    if len(data) > max_bytes:
        raise StrictJsonError("body-too-large", f"it has {len(data):,} bytes, {max_bytes:,} are allowed", "", max_bytes)
    try:
        value = _decode(data)
        if _is_proven(data, value, max_depth):
            return value
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError):
        if not may_scan:
            raise NeedsScan from None
        JsonScanner(data, max_depth).scan()
        raise StrictJsonError("bad-json", "it can't be read", "", 0) from None
    if not may_scan:
        raise NeedsScan
    JsonScanner(data, max_depth).scan()
    return value


def _is_proven(data: bytes, value: Any, max_depth: int) -> bool:
    """Return whether a decodable text is also strict; a false negative costs only time."""
    if b"\\u" in data and (b"\\u0000" in data or b"\\u003a" in data or b"\\u003A" in data):
        return False
    # The decoded value lacks the first value of a repeated key, and so at least one colon, since none was escaped.
    if data.count(b":") != _encode(value).count(b":"):
        return False
    digits = data.translate(_DIGITS_AS_ZEROS)
    if _SUSPECT_DIGITS in digits:
        return _TOO_MANY_DIGITS not in digits and _is_within(value, max_depth)
    return data.count(b"[") + data.count(b"{") <= max_depth or _is_within(value, max_depth)


def _is_within(value: Any, max_depth: int) -> bool:
    """Return whether depth and integers are within their limits, level by level to avoid recursion."""
    level: list[Any] = [[value]]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for container in level:
            for child in container.values() if type(container) is dict else container:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif kind is int and not INT_MIN <= child <= INT_MAX:
                    return False
        if not below:
            return True
        level = below
    return False
