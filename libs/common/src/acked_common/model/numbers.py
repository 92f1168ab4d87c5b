"""Parse numbers in queries, headers, settings and ports. Pure.

Python's `int` and `float` also accept `1_000`, ` 5`, `+5`, `nan` and the digits of every script. Such texts are usually
mistakes, and other programs read them differently.
"""

import re

_WHOLE = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def whole(text: str) -> int:
    """Parse an integer of ASCII digits. Raises ValueError."""
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("not a whole number")
    return int(text)


def decimal(text: str) -> float:
    """Parse a number of ASCII digits with an optional point and exponent. Raises ValueError."""
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("not a number")
    return float(text)
