"""Parse a body of `PUT /schedules/{name}`: strictly, reporting all faults at once. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.cron import BadCron, checked_cron, zone
from acked_common.model.instants import instant_from
from acked_common.model.job_fields import MAX_TAGS, FieldFault, read_batch, read_kind, read_tags, type_of
from acked_common.model.options import JobOptions
from acked_common.model.schedule_instants import first_after
from acked_common.model.schedules import (
    DEFAULT_CATCH_UP_S,
    MAX_CATCH_UP_S,
    MAX_EVERY_S,
    MAX_JITTER_S,
    MAX_PAYLOAD_BYTES,
    MIN_CATCH_UP_S,
    MIN_EVERY_S,
    Overlap,
    ScheduleOrder,
    Timing,
    Work,
)
from acked_common.model.strict_json import StrictJsonError

MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 16 * 1024
MOST_TAGS = MAX_TAGS - 1
"""One tag is that of the schedule."""
_EXAMPLE = '{"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "kind": "report"}'


@dataclass(frozen=True, slots=True)
class ScheduleWish:
    """The content of a body; an omitted `paused` is None."""

    order: ScheduleOrder
    paused: bool | None


class _SchedulePayload(msgspec.Struct):
    payload: msgspec.Raw


_payload_decoder = msgspec.json.Decoder(_SchedulePayload)


def parse_schedule(body: bytes, *, now: datetime, may_scan: bool = True) -> ScheduleWish:
    """Return the content of the body. Raise `ProblemError`, and `NeedsScan` unless `may_scan`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise refusal([{"pointer": "", "detail": f"must be an object such as {_EXAMPLE}"}])
    errors: list[ErrorAt] = []
    fields = {}
    for name, read in _FIELDS.items():
        try:
            if members.get(name) is not None:
                fields[name] = read(members[name])
        except FieldFault as fault:
            errors.append({"pointer": f"/{name}{fault.pointer}", "detail": fault.detail})
    errors += _missing(members)
    payload = b"{}"
    if "payload" in members:
        payload = bytes(_payload_decoder.decode(body).payload)
        if len(payload) > MAX_PAYLOAD_BYTES:
            detail = f"has {len(payload):,} bytes, and a schedule may have {MAX_PAYLOAD_BYTES:,}; refer to the data"
            errors.append({"pointer": "/payload", "detail": detail})
    unknown: list[ErrorAt] = [
        {"pointer": f"/{name[:100]}", "detail": "is not a known field; put the handler's input inside payload"}
        for name in members
        if name not in KNOWN_FIELDS
    ]
    if errors or unknown:
        raise refusal([*errors, *unknown], is_unknown=not errors)
    return ScheduleWish(_order(fields, payload, now), fields.get("paused"))


def _missing(members: Mapping[str, Any]) -> list[ErrorAt]:
    errors: list[ErrorAt] = []
    has_cron, has_every = (members.get(name) is not None for name in ("cron", "every_s"))
    if has_cron == has_every:
        detail = "stands beside cron; send one of them" if has_cron else f"or cron must be there, such as {_EXAMPLE}"
        errors.append({"pointer": "/every_s", "detail": detail})
    if has_every and members.get("timezone") is not None:
        errors.append(
            {"pointer": "/timezone", "detail": "is for cron; every_s counts seconds, which have no time zone"}
        )
    if members.get("kind") is None:
        errors.append({"pointer": "/kind", "detail": "is missing; name the kind of the jobs"})
    return errors


def _order(fields: Mapping[str, Any], payload: bytes, now: datetime) -> ScheduleOrder:
    timing = Timing(
        cron=fields.get("cron"),
        every_s=fields.get("every_s"),
        timezone=fields.get("timezone", "UTC") if "cron" in fields else None,
        from_at=fields.get("from"),
        until_at=fields.get("until"),
        jitter_s=fields.get("jitter_s", 0),
    )
    if first_after(timing, now) is None:
        detail = "leaves no instant in the future: the schedule would never fire"
        raise refusal([{"pointer": "/until" if timing.until_at is not None else "/cron", "detail": detail}])
    options = JobOptions(batch=fields.get("batch"), tags=fields.get("tags", ()))
    return ScheduleOrder(
        timing,
        Work(fields["kind"], payload, options),
        fields.get("overlap", Overlap.SKIP),
        fields.get("catch_up_s", DEFAULT_CATCH_UP_S),
    )


def _cron(value: Any) -> str:
    try:
        return checked_cron(_text(value))
    except BadCron as error:
        raise FieldFault(str(error)) from None


def _zone(value: Any) -> str:
    text = _text(value)
    try:
        zone(text)
    except BadCron as error:
        raise FieldFault(str(error)) from None
    return text


def read_whole(unit: str, value: Any, *, least: int, most: int) -> int:
    """Return a whole number within bounds. Raise `FieldFault`."""
    if type(value) is not int or not least <= value <= most:
        raise FieldFault(f"must be a whole number of {unit} from {least:,} to {most:,}")
    return value


def read_instant(value: Any) -> datetime:
    """Return an instant of RFC 3339. Raise `FieldFault`."""
    text = _text(value)
    try:
        # Any instant serves as the present one, since durations back from it are not taken.
        if text[-1:].isalpha() and text[-1] not in "zZ":
            raise ValueError(text)
        return instant_from(text, datetime.max)
    except ValueError:
        raise FieldFault("must be an instant with its offset, such as 2026-01-31T23:59:59Z") from None


def _overlap(value: Any) -> Overlap:
    try:
        return Overlap(value)
    except ValueError:
        raise FieldFault(f"must be one of {', '.join(Overlap)}") from None


def _paused(value: Any) -> bool:
    if type(value) is not bool:
        raise FieldFault(f"must be true or false, not {type_of(value)}")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    tags = read_tags(value)
    if len(tags) > MOST_TAGS:
        raise FieldFault(f"must hold at most {MOST_TAGS} tags: one more is that of the schedule")
    return tags


def _text(value: Any) -> str:
    if type(value) is not str:
        raise FieldFault(f"must be a text, not {type_of(value)}")
    return value


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "cron": _cron,
    "every_s": partial(read_whole, "seconds", least=MIN_EVERY_S, most=MAX_EVERY_S),
    "timezone": _zone,
    "from": read_instant,
    "until": read_instant,
    "jitter_s": partial(read_whole, "seconds", least=0, most=MAX_JITTER_S),
    "kind": read_kind,
    "batch": read_batch,
    "tags": _tags,
    "overlap": _overlap,
    "catch_up_s": partial(read_whole, "seconds", least=MIN_CATCH_UP_S, most=MAX_CATCH_UP_S),
    "paused": _paused,
}
KNOWN_FIELDS = (*_FIELDS, "payload")


def refusal(errors: list[ErrorAt], *, is_unknown: bool = False, known: Sequence[str] = KNOWN_FIELDS) -> ProblemError:
    """Return the problem of a body with these faults."""
    first = errors[0]
    detail = f"{first['pointer'][1:] or 'the body'} {first['detail']}"
    if len(errors) > 1:
        detail = f"{len(errors)} fields can't be used; the first: {detail}"
    extra = {"known_fields": tuple(known)} if is_unknown else None
    name = "unknown-field" if is_unknown else "invalid-field"
    return ProblemError(problem(name, f"{detail}. Nothing was changed", errors=errors[:20], extra=extra))
