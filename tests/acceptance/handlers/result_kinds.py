"""Kinds whose results can't be kept, or look like something else."""

from collections.abc import Callable
from typing import Any

from acked import Context, handler

MIB = 2**20
DEEP = 100_000
LIKE_OPERATORS = {
    "$set": {"state": "$$NOW"},
    "a.b": "$payload",
    "$$ROOT": ["$attempt", {"$literal": 1}, {"$where": "sleep(1000)"}],
    "": "$$REMOVE",
}


def _deep() -> Any:
    value: Any = []
    for _ in range(DEEP):
        value = [value]
    return value


_RESULTS: dict[str, Callable[[], Any]] = {
    "20 MB": lambda: "x" * (20 * MIB),
    "an object": object,
    "a number that JSON lacks": lambda: {"rate": float("nan")},
    "half a character": lambda: "\ud800",
    "too deep": _deep,
    "a key twice": lambda: {1: "a", "1": "b"},
    "2^64": lambda: {"id": 2**64},
    "operators": lambda: LIKE_OPERATORS,
    "1 MiB": lambda: "x" * (MIB - 2),
}


@handler("test.returns")
async def returns(ctx: Context, payload: Any) -> Any:
    """Returns what `{"what": name}` names."""
    return _RESULTS[payload["what"]]()


@handler("test.raises")
async def raises(ctx: Context, payload: Any) -> None:
    """Fails with a text that no store should take as it is."""
    raise ValueError("$$NOW \x00 \ud800 " + "x" * MIB)
