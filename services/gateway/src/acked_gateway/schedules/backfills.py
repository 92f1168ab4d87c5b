"""Parse and show backfills of schedules: past instants that fire on request. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.representations import Count, Instant
from acked_common.http.problems import ErrorAt, ProblemError, json_problem
from acked_common.model import strict_json
from acked_common.model.instants import rfc3339
from acked_common.model.job_fields import FieldFault
from acked_common.model.schedules import MOST_BACKFILLED, Backfill
from acked_common.model.strict_json import StrictJsonError
from acked_gateway.schedules.body import read_instant, read_whole, refusal

MAX_BODY_BYTES = 4 * 1024
_EXAMPLE = '{"from": "2025-01-01T00:00:00Z", "until": "2025-01-08T00:00:00Z"}'


class BackfillRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which past instants fire."""

    from_: Annotated[str, Meta(description="RFC 3339: the first instant that counts.")] = msgspec.field(name="from")
    until: (
        Annotated[str | None, Meta(description="RFC 3339: the first instant that does not count. Default: now.")]
        | UnsetType
    ) = UNSET
    limit: (
        Annotated[
            Annotated[int, Meta(ge=1, le=MOST_BACKFILLED)] | None,
            Meta(description=f"The most instants, oldest first. Default {MOST_BACKFILLED:,}."),
        ]
        | UnsetType
    ) = UNSET


_Bounds = TypedDict("_Bounds", {"from": Instant, "until": Instant})


class ScheduleBackfill(_Bounds):
    """How far a backfill is."""

    limit: Annotated[int, Meta(ge=1, le=MOST_BACKFILLED)]
    asked_at: Instant
    next_at: Annotated[
        Instant | None,
        Meta(description="The next instant that is not decided; the next request may begin with it. Null if none is."),
    ]
    started: Annotated[Count, Meta(description="Instants whose jobs were started.")]
    present: Annotated[Count, Meta(description="Instants that had a job already: they fired, or were backfilled.")]
    refused: Annotated[Count, Meta(description="Instants whose jobs were refused; the firings say why.")]
    ended_at: Annotated[Instant | None, Meta(description="Null while it is under way.")]


@dataclass(frozen=True, slots=True)
class BackfillWish:
    """The content of a body."""

    from_at: datetime
    until_at: datetime
    limit: int


def parse_backfill(body: bytes, *, now: datetime) -> BackfillWish:
    """Return the content of the body. Raise `ProblemError`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise refusal([{"pointer": "", "detail": f"must be an object such as {_EXAMPLE}"}], known=KNOWN_FIELDS)
    errors: list[ErrorAt] = []
    fields: dict[str, Any] = {"until": now, "limit": MOST_BACKFILLED}
    for name, read in _FIELDS.items():
        try:
            if members.get(name) is not None:
                fields[name] = read(members[name])
        except FieldFault as fault:
            errors.append({"pointer": f"/{name}", "detail": fault.detail})
    if members.get("from") is None:
        errors.append({"pointer": "/from", "detail": f"is missing; send such as {_EXAMPLE}"})
    if not errors and fields["until"] > now:
        detail = "is in the future: a backfill is of past instants, and later ones fire by themselves"
        errors.append({"pointer": "/until", "detail": detail})
    unknown: list[ErrorAt] = [
        {"pointer": f"/{name[:100]}", "detail": "is not a known field"} for name in members if name not in KNOWN_FIELDS
    ]
    if errors or unknown:
        raise refusal([*errors, *unknown], is_unknown=not errors, known=KNOWN_FIELDS)
    return BackfillWish(fields["from"], fields["until"], fields["limit"])


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "from": read_instant,
    "until": read_instant,
    "limit": partial(read_whole, "instants", least=1, most=MOST_BACKFILLED),
}
KNOWN_FIELDS = tuple(_FIELDS)


def backfill_fields(backfill: Backfill) -> ScheduleBackfill:
    """Return a backfill as responses show it."""
    return {
        "from": rfc3339(backfill.from_at),
        "until": rfc3339(backfill.until_at),
        "limit": backfill.limit,
        "asked_at": rfc3339(backfill.asked_at),
        "next_at": None if backfill.next_at is None else rfc3339(backfill.next_at),
        "started": backfill.started,
        "present": backfill.present,
        "refused": backfill.refused,
        "ended_at": None if backfill.ended_at is None else rfc3339(backfill.ended_at),
    }
