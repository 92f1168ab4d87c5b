"""Numbers in texts that people and programs send: query, headers, settings, ports. Pure.

Python's own `int` and `float` also take `1_000`, ` 5`, `+5`, `nan` and the digits of every script; whoever sends these
meant something else, and other programs read them as something else.
"""

import re

_WHOLE = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def whole(text: str) -> int:
    """The number that ASCII digits alone write. Raises ValueError."""
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("not a whole number")
    return int(text)


def decimal(text: str) -> float:
    """The number that digits write, with a point or an exponent or without. Raises ValueError."""
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("not a number")
    return float(text)
