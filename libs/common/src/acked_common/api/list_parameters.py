"""The query parameters that lists share: page size, page token, and bounds in time."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from acked_common.api.routes import Link, Parameter
from acked_common.http.problems import ProblemError, problem
from acked_common.model.instants import instant_from
from acked_common.model.numbers import whole

MAX_PAGE_ASKED = 999_999_999

NextPageToken = Annotated[str, Meta(description="The token of the next page; empty at the end of the list.")]

_ID_BYTES = 16
_DIGEST_BYTES = 5


def page_parameters(what: str, *, default: int, most: int) -> tuple[Parameter, Parameter]:
    """Return the descriptions of page size and page token for a list of `what`."""
    return (
        Parameter(
            name="page_size",
            place="query",
            type=Annotated[int, Meta(ge=0, le=MAX_PAGE_ASKED, extra_json_schema={"default": default})],
            description=f"How many {what} at most; more than {most:,} counts as {most:,}.",
        ),
        Parameter(name="page_token", place="query", type=str, description="The `next_page_token` of the page before."),
    )


def next_page(operation: str, *, has_filters: bool = True, path: Sequence[str] = ()) -> Link:
    """Return the link from a page of a list to the next one; `path` names the parameters of the list's path."""
    filters = "; with the same filters" if has_filters else ""
    return Link(
        operation=operation,
        parameters={
            **{name: f"$request.path.{name}" for name in path},
            "page_token": "$response.body#/next_page_token",
        },
        description=f"The next page, if the token is not empty{filters}.",
    )


def page_size(text: str | None, *, default: int, most: int) -> int:
    """Return the maximum of entries in a page. Raise a problem for a text that is no number."""
    if not text:
        return default
    try:
        asked = whole(text)
    except ValueError:
        asked = -1
    if not 0 <= asked <= MAX_PAGE_ASKED:
        raise bad_parameter("page_size", f"must be a whole number from 0 to {MAX_PAGE_ASKED:,}, not {text[:40]!r}")
    # A page size beyond the maximum is reduced, never refused (AIP-158).
    return max(1, min(asked, most))


def page_token(before: UUID, filters: Mapping[str, Any]) -> str:
    """Return the token of the page after this id; `filters` are those of the request."""
    return _encoded(before.bytes + _digest(filters))


def position(token: str | None, filters: Mapping[str, Any]) -> UUID | None:
    """Return the id after which a page begins; None for the first page. Raise a problem for a foreign token."""
    if not token:
        return None
    try:
        found = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        # The decoder skips characters outside the alphabet.
        if _encoded(found) != token:
            raise ValueError(token)
        before, digest = UUID(bytes=found[:_ID_BYTES]), found[_ID_BYTES:]
    except ValueError:
        raise bad_parameter("page_token", "must be the next_page_token of an earlier response") from None
    # Gateways of older versions issued tokens without a digest.
    if digest and digest != _digest(filters):
        raise bad_parameter("page_token", "belongs to a list with other filters; send the same ones with it")
    return before


def instant(name: str, text: str | None, now: datetime) -> datetime | None:
    """Return the instant of a parameter, if present. Raise a problem for a text that is no instant."""
    if not text:
        return None
    try:
        # In a query, an unescaped plus is a space.
        return instant_from(text.replace(" ", "+"), now)
    except ValueError:
        forms = "an instant such as 2026-01-31T23:59:59Z, or a duration back from now, such as 15m, 1h or 8d"
        raise bad_parameter(name, f"must be {forms}, not {text[:40]!r}") from None


def bad_parameter(name: str, detail: str) -> ProblemError:
    """Return the problem of one query parameter."""
    return ProblemError(
        problem("invalid-field", f"{name} {detail}", errors=[{"pointer": f"?{name}", "detail": detail}])
    )


def _encoded(place: bytes) -> str:
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _digest(filters: Mapping[str, Any]) -> bytes:
    """Digest the filters: a token that continues a list with other filters would skip entries."""
    given = {name: value for name, value in filters.items() if value is not None}
    return blake2b(msgspec.json.encode(given), digest_size=_DIGEST_BYTES).digest()
