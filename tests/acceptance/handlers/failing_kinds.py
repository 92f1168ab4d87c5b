"""Kinds that fail as requested, each at its own lines."""

from typing import Any

from acked import Context, handler


@handler("test.stumbles", max_attempts=5, backoff_base_s=0.05, backoff_cap_s=0.1)
async def stumbles(ctx: Context, payload: Any) -> Any:
    """Fails twice in each run, differently, then returns its payload."""
    if ctx.failures == 0:
        raise LookupError(f"no order {payload['nonce']}")
    if ctx.failures == 1:
        raise ConnectionError(f"the shop of {payload['nonce']} is closed")
    return payload


@handler("test.no-order", max_attempts=1)
async def no_order(ctx: Context, payload: Any) -> None:
    """Fails at one of two lines."""
    if payload.get("line") == 2:
        raise ValueError(_text(payload))
    raise ValueError(_text(payload))  # the first line


@handler("test.no-user", max_attempts=1)
def no_user(ctx: Context, payload: Any) -> None:
    """Fails in a thread, below a function of its own."""
    _deeper(payload)


@handler("test.no-page", max_attempts=1)
async def no_page(ctx: Context, payload: Any) -> None:
    """Fails in the standard library."""
    try:
        int(_text(payload))
    except ValueError as error:
        raise RuntimeError(_text(payload)) from error


def _deeper(payload: Any) -> None:
    raise KeyError(_text(payload))


def _text(payload: Any) -> str:
    return f"{payload['number']} of {payload['id']} at {payload['url']} for {payload['name']!r} took {payload['s']} s"
