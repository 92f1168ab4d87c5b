"""Parse and validate a body of `POST /process`: strictly, reporting all faults at once. Pure."""

import difflib
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.callback_fields import read_events, read_url
from acked_common.model.callbacks import Callback
from acked_common.model.ids import parse_id
from acked_common.model.job_fields import MAX_TAG_CHARS, FieldFault, read_batch, read_kind, read_tags, type_of
from acked_common.model.names import IDEMPOTENCY_KEY
from acked_common.model.options import NO_OPTIONS, OPTION_NAMES, JobOptions
from acked_common.model.strict_json import StrictJsonError
from acked_common.store.records import KindRecord

T = TypeVar("T")

DEFAULT_KIND = "demo"
YEAR_S = 31_536_000
MAX_ATTEMPTS = 1000

KEY_FIELD = "idempotency_key"
"""The field of a line in place of the header."""

_PAYLOAD = "payload"
_REQUIRED = {
    "kind": 'is missing; name the kind of work, such as "demo"',
    KEY_FIELD: "is missing; each line has a key of its own, equal for its retries. Use a UUID",
}
"""What is wrong where a field is absent; only lines have a key."""
_MAX_ERRORS = 20
_MAX_SHOWN_CHARS = 200


class Submission(msgspec.Struct, frozen=True):
    """A validated request. `payload` is the JSON text exactly as it was sent; a field is None if the request omits
    it."""

    kind: str
    payload: bytes = b"{}"
    delay_s: float = 0.0
    options: JobOptions = NO_OPTIONS
    edited_from: UUID | None = None
    """The id of the job that this one replaces; it is not checked whether that job exists."""
    callback: Callback | None = None
    """Checked as it is written; `check_target` applies the rules of this installation."""


class _Payload(msgspec.Struct):
    payload: msgspec.Raw


_payload_decoder = msgspec.json.Decoder(_Payload)


def parse_submission(body: bytes, *, max_bytes: int = strict_json.MAX_BYTES, may_scan: bool = True) -> Submission:
    """Return the submission; an empty body submits a `demo` job. Raises `ProblemError` with 400, 413 or 422, and
    `NeedsScan` unless `may_scan`."""
    if not body:
        return Submission(DEFAULT_KIND)
    members = _members_of(body, max_bytes=max_bytes, may_scan=may_scan)
    return _submission(body, members, _read_fields(members, _FIELDS))


def parse_line(line: bytes, *, max_bytes: int = strict_json.MAX_BYTES, may_scan: bool = True) -> tuple[Submission, str]:
    """Return the submission of one line of many, and its idempotency key. Raises as `parse_submission` does."""
    members = _members_of(line, max_bytes=max_bytes, may_scan=may_scan)
    fields = _read_fields(members, _LINE_FIELDS)
    key: str = fields.pop(KEY_FIELD)
    return _submission(line, members, fields), key


def _members_of(body: bytes, *, max_bytes: int, may_scan: bool) -> dict[str, Any]:
    try:
        members = strict_json.parse(body, max_bytes=max_bytes, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if type(members) is not dict:
        detail = f'must be an object such as {{"kind": "demo"}}, not {type_of(members)}'
        raise ProblemError(problem("invalid-field", f"the body {detail}", errors=[{"pointer": "", "detail": detail}]))
    return members


def _read_fields(members: dict[str, Any], known: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return the checked fields that the members have. Raises `ProblemError` with all faults at once."""
    fields: dict[str, Any] = {}
    errors: list[ErrorAt] = []
    unknown: list[str] = []
    for name, value in members.items():
        read = known.get(name)
        if read is None:
            unknown.append(name)
        elif value is not None or name in _REQUIRED:
            try:
                fields[name] = read(value)
            except FieldFault as wrong:
                errors.append({"pointer": f"/{name}{wrong.pointer}", "detail": wrong.detail})
    missing = [name for name in _REQUIRED if name in known and name not in members]
    errors[:0] = [{"pointer": f"/{name}", "detail": _REQUIRED[name]} for name in missing]
    if errors or unknown:
        raise _refusal(errors, unknown, tuple(known))
    return fields


def _submission(body: bytes, members: dict[str, Any], fields: dict[str, Any]) -> Submission:
    if _PAYLOAD in members:
        fields[_PAYLOAD] = bytes(_payload_decoder.decode(body).payload)
    asked = {name: fields.pop(name) for name in OPTION_NAMES if name in fields}
    return Submission(**fields, options=JobOptions(**asked) if asked else NO_OPTIONS)


def beyond_limits(submission: Submission, kind: KindRecord) -> ProblemError | None:
    """Return the 422 for a request that exceeds the limits of its kind; None for all others."""
    errors: list[ErrorAt] = []
    for name, asked, limit in (
        ("max_attempts", submission.options.max_attempts, kind.most_attempts),
        ("timeout_s", submission.options.timeout_s, kind.most_timeout_s),
    ):
        if asked is not None and asked > limit:
            detail = f"is {asked:g}, and kind {kind.name!r} allows {limit:g} at most"
            errors.append({"pointer": f"/{name}", "detail": detail})
    if not errors:
        return None
    detail = "; ".join(f"{error['pointer'][1:]} {error['detail']}" for error in errors)
    return ProblemError(problem("invalid-field", f"{detail}. Send at most that, or omit the field", errors=errors))


def _delay(value: Any) -> float:
    seconds = _number(value)
    if not 0 <= seconds <= YEAR_S:
        raise FieldFault(f"must be 0 to {YEAR_S:,} seconds (a year)")
    # Removes the sign of -0.0.
    return seconds + 0.0


def _duration(value: Any) -> float:
    seconds = _number(value)
    if not 0 < seconds <= YEAR_S:
        raise FieldFault(f"must be more than 0 and at most {YEAR_S:,} seconds (a year)")
    return seconds


def _number(value: Any) -> float:
    # bool is a subclass of int, so the exact types count.
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise FieldFault(f"must be a number of seconds, not {type_of(value)}")


def _max_attempts(value: Any) -> int:
    if type(value) is not int:
        raise FieldFault(f"must be a whole number, not {type_of(value)}")
    if not 1 <= value <= MAX_ATTEMPTS:
        raise FieldFault(f"must be 1 to {MAX_ATTEMPTS}")
    return value


def _job_id(value: Any) -> UUID:
    if type(value) is not str:
        raise FieldFault(f"must be the id of a job, not {type_of(value)}")
    job_id = parse_id(value)
    if job_id is None or str(job_id) != value.lower():
        raise FieldFault("must be the id of a job, such as 01a20d05-adf2-7315-9ee6-8162dae54aa3")
    return job_id


def _callback(value: Any) -> Callback:
    if type(value) is not dict:
        raise FieldFault(f'must be an object such as {{"url": "https://example.com/hook"}}, not {type_of(value)}')
    for name in value:
        if name not in ("url", "events"):
            raise FieldFault("is not a known field; known are url and events", _pointer(name))
    url = _within("url", read_url, value.get("url"))
    events = value.get("events")
    return Callback(url) if events is None else Callback(url, _within("events", read_events, events))


def _within(name: str, read: Callable[[Any], T], value: Any) -> T:
    """Read a member of a field; its fault points to it."""
    try:
        return read(value)
    except FieldFault as fault:
        raise FieldFault(fault.detail, f"/{name}{fault.pointer}") from None


def _idempotency_key(value: Any) -> str:
    if type(value) is not str:
        raise FieldFault(f"must be a text, not {type_of(value)}")
    if IDEMPOTENCY_KEY.fullmatch(value) is None:
        raise FieldFault("must be 1 to 255 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-'")
    return value


def _payload(value: Any) -> bytes:
    # Its text is cut out of the body once the body is known to be valid.
    return b""


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "kind": read_kind,
    _PAYLOAD: _payload,
    "delay_s": _delay,
    "batch": read_batch,
    "tags": read_tags,
    "max_attempts": _max_attempts,
    "timeout_s": _duration,
    "expires_in_s": _duration,
    "edited_from": _job_id,
    "callback": _callback,
}
KNOWN_FIELDS = tuple(_FIELDS)
_LINE_FIELDS = {KEY_FIELD: _idempotency_key, **_FIELDS}


def _refusal(errors: list[ErrorAt], unknown: list[str], known: tuple[str, ...]) -> ProblemError:
    name = "invalid-field" if errors else "unknown-field"
    total = len(errors) + len(unknown)
    room = _MAX_ERRORS - len(errors)
    errors += [{"pointer": _pointer(field), "detail": _hint(field, known)} for field in unknown[:room]]
    detail = f"{errors[0]['pointer'][1:] or 'a name'} {errors[0]['detail']}"
    if total > 1:
        detail = f"{total:,} fields can't be used; the first: {detail}"
    extra = {"known_fields": known} if unknown else None
    return ProblemError(problem(name, detail, errors=errors, extra=extra))


def _hint(field: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(field[:MAX_TAG_CHARS].lower(), known, n=1)
    if close:
        return f"is not a known field; did you mean {close[0]!r}?"
    return "is not a known field; put the handler's input inside payload"


def _pointer(field: str) -> str:
    # A very long name is not returned: the pointer names the body itself.
    return "/" + field.replace("~", "~0").replace("/", "~1") if len(field) <= _MAX_SHOWN_CHARS else ""
