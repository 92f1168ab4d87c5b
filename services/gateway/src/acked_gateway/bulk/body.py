"""Parse and validate a body of `POST /bulk-actions`: strictly, reporting all faults at once. Pure."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.attempts import GROUP_NAME
from acked_common.model.bulk_actions import (
    MAX_RATE_PER_S,
    MAX_REASON_CHARS,
    MAX_RESULT_BYTES,
    MIN_RATE_PER_S,
    MOST_IDS,
    MOVES,
    UNNAMED,
    BulkResolution,
    BulkVerb,
    JobChoice,
)
from acked_common.model.ids import parse_id
from acked_common.model.instants import instant_from
from acked_common.model.interventions import RESOLVED_AS
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, KIND_NAME
from acked_common.model.strict_json import StrictJsonError
from acked_gateway.bulk.plan import MOST_TOKEN_CHARS
from acked_gateway.jobs.commands import MAX_NOTE_CHARS
from acked_gateway.jobs.filters import OF_SIGNALS, SLEEP, WAITING_FOR, awaited_name

MAX_BODY_BYTES = 2**20
FIELDS = ("action", "filter", "ids", "rate_per_s", "dry_run", "plan", "reason", "resolution")
FILTERS = ("state", "kind", "batch", "tag", "error.group", "since", "until", WAITING_FOR)
RESOLUTION_FIELDS = ("state", "result", "note")
MAX_TAG_CHARS = 64

_MAX_ERRORS = 20
_MAX_SHOWN_CHARS = 100


class Wish(msgspec.Struct, frozen=True):
    """A validated body. It has either a filter, as it was sent, or ids, sorted."""

    verb: BulkVerb
    filter: Mapping[str, Any] | None = None
    ids: tuple[UUID, ...] = ()
    rate_per_s: float | None = None
    dry_run: bool = False
    plan: str | None = None
    reason: str | None = None
    resolution: BulkResolution | None = None


class _WrongPart(Exception):
    """The fault of one field; `pointer` is appended to the field's own."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        self.detail = detail
        self.pointer = pointer


def parse_wish(body: bytes, *, may_scan: bool = True) -> Wish:
    """Parse a body. Raises `ProblemError`, and `NeedsScan` unless `may_scan`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if type(members) is not dict:
        detail = 'must be an object such as {"action": "retry", "filter": {"batch": "nightly"}}'
        raise ProblemError(problem("invalid-field", f"the body {detail}", errors=[{"pointer": "", "detail": detail}]))
    fields: dict[str, Any] = {}
    errors: list[ErrorAt] = []
    for name, value in members.items():
        read = _READ.get(name)
        if read is None or (value is None and name != "action"):
            continue
        try:
            fields[name] = read(value)
        except _WrongPart as wrong:
            errors.append({"pointer": f"/{name}{wrong.pointer}", "detail": wrong.detail})
    unknown = _unknown(members, FIELDS, "")
    if not errors:
        errors = _of_the_whole(fields)
    if errors or unknown:
        raise _refusal(errors, unknown)
    verb = fields.pop("action")
    return Wish(verb, **fields)


def choice_of(wish: Wish, tenant: str, now: datetime) -> JobChoice | None:
    """Return the choice of jobs by the filter of a wish, with durations counted back from `now`; None for ids."""
    wanted = wish.filter
    if wanted is None:
        return None
    return JobChoice(
        tenant=tenant,
        states=tuple(sorted(_states(wish.verb, wanted))),
        kind=wanted.get("kind"),
        batch=wanted.get("batch"),
        tag=wanted.get("tag"),
        error_group=wanted.get("error.group"),
        since_at=_instant(wanted.get("since"), now),
        until_at=_instant(wanted.get("until"), now),
        waiting_for=None if (awaited := wanted.get(WAITING_FOR)) is None else awaited_name(awaited),
    )


def _states(verb: BulkVerb, wanted: Mapping[str, Any]) -> frozenset[State]:
    if "state" in wanted:
        return frozenset({State(wanted["state"])})
    return next((frozenset({only}) for name, (only, _) in _OF_ONE_STATE.items() if name in wanted), UNNAMED[verb])


def _instant(text: str | None, now: datetime) -> datetime | None:
    return None if text is None else instant_from(text, now)


def _of_the_whole(fields: Mapping[str, Any]) -> list[ErrorAt]:
    """Return the faults of fields that are valid by themselves but contradict each other."""
    if "action" not in fields:
        return [{"pointer": "/action", "detail": f"is missing; name one of {_listed(BulkVerb)}"}]
    verb: BulkVerb = fields["action"]
    errors: list[ErrorAt] = []
    if ("filter" in fields) == ("ids" in fields):
        detail = "send either filter or ids, not both"
        errors.append({"pointer": "/filter", "detail": detail})
    if verb is BulkVerb.RESOLVE and "resolution" not in fields:
        detail = 'is missing: send the outcome of the jobs, such as {"state": "succeeded"}'
        errors.append({"pointer": "/resolution", "detail": detail})
    if verb is not BulkVerb.RESOLVE and "resolution" in fields:
        errors.append({"pointer": "/resolution", "detail": "is allowed only with the action resolve; omit it"})
    if fields.get("dry_run") and "plan" in fields:
        errors.append({"pointer": "/plan", "detail": "comes from a dry run: send it without dry_run to carry it out"})
    return errors + _contradictions(verb, fields.get("filter", {}))


def _contradictions(verb: BulkVerb, wanted: Mapping[str, Any]) -> list[ErrorAt]:
    moved = sorted(MOVES[verb])
    if "state" in wanted and State(wanted["state"]) not in MOVES[verb]:
        detail = f"contradicts the action: {verb.value} moves jobs that are {_listed(moved)}"
        return [{"pointer": "/filter/state", "detail": detail}]
    given = [(name, only, why) for name, (only, why) in _OF_ONE_STATE.items() if name in wanted]
    for name, only, why in given:
        if only not in MOVES[verb]:
            detail = f"contradicts the action: {why}, and {verb.value} moves jobs that are {_listed(moved)}"
            return [{"pointer": f"/filter/{name}", "detail": detail}]
        if wanted.get("state", only) != only:
            return [{"pointer": "/filter/state", "detail": f"contradicts {name}: {why}; leave state out"}]
    if len(given) > 1:
        detail = f"contradicts {given[0][0]}: no job matches both"
        return [{"pointer": f"/filter/{given[1][0]}", "detail": detail}]
    return []


def _verb(value: Any) -> BulkVerb:
    try:
        return BulkVerb(value)
    except ValueError:
        raise _WrongPart(f"must be one of {_listed(BulkVerb)}") from None


def _filter(value: Any) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise _WrongPart(f"must be an object with some of {_listed(FILTERS)}")
    given = {name: part for name, part in value.items() if part is not None}
    if not given:
        raise _WrongPart(f"must not be empty: it would mean every job. Name at least one of {_listed(FILTERS)}")
    for name, part in given.items():
        if (check := _FILTER_CHECKS.get(name)) is None:
            raise _WrongPart(_hint(name, FILTERS), f"/{_pointer(name)}")
        if type(part) is not str or not check(part):
            raise _WrongPart(f"must be {_FILTER_FORMS[name]}", f"/{_pointer(name)}")
    return given


def _is_instant(text: str) -> bool:
    try:
        return _instant(text, datetime.fromisoformat("2026-01-01T00:00:00+00:00")) is not None
    except ValueError:
        return False


def _is_awaited(text: str) -> bool:
    try:
        awaited_name(text)
    except ValueError:
        return False
    return True


_OF_ONE_STATE: Mapping[str, tuple[State, str]] = {
    "error.group": (State.FAILED, "only failed jobs have a group"),
    WAITING_FOR: (State.WAITING, "only parked jobs wait"),
}
"""Filters that only jobs in one state match, and why."""
_FILTER_CHECKS: Mapping[str, Callable[[str], Any]] = {
    "state": lambda text: text in set(State),
    "kind": KIND_NAME.fullmatch,
    "batch": BATCH_NAME.fullmatch,
    "tag": lambda text: 1 <= len(text) <= MAX_TAG_CHARS,
    "error.group": GROUP_NAME.fullmatch,
    "since": _is_instant,
    "until": _is_instant,
    WAITING_FOR: _is_awaited,
}
_AN_INSTANT = "an instant such as 2026-01-02T03:04:05Z, or a duration back from now such as 15m, 1h or 8d"
_FILTER_FORMS: Mapping[str, str] = {
    "state": f"one of {', '.join(State)}",
    "kind": "the name of a kind: 1 to 64 of a-z, 0-9, '.', '_' and '-'",
    "batch": "the name of a batch: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'",
    "tag": f"a tag of 1 to {MAX_TAG_CHARS} characters",
    "error.group": "the group of an error as jobs show it, or ungrouped",
    "since": _AN_INSTANT,
    "until": _AN_INSTANT,
    WAITING_FOR: f"{SLEEP}, or {OF_SIGNALS} and the name of a signal, such as {OF_SIGNALS}paid",
}


def _ids(value: Any) -> tuple[UUID, ...]:
    if type(value) is not list or not value:
        raise _WrongPart(f"must be an array of 1 to {MOST_IDS:,} job ids")
    if len(value) > MOST_IDS:
        raise _WrongPart(f"must hold at most {MOST_IDS:,} ids, not {len(value):,}; send several actions, or a filter")
    found: dict[UUID, int] = {}
    for index, text in enumerate(value):
        job_id = parse_id(text) if type(text) is str else None
        if job_id is None:
            raise _WrongPart("must be the id of a job, a UUID", f"/{index}")
        if (first := found.setdefault(job_id, index)) != index:
            raise _WrongPart(f"repeats /ids/{first}; send each id once", f"/{index}")
    return tuple(sorted(found))


def _rate(value: Any) -> float:
    if type(value) not in (int, float) or not MIN_RATE_PER_S <= value <= MAX_RATE_PER_S:
        raise _WrongPart(f"must be a number of jobs per second from {MIN_RATE_PER_S:g} to {MAX_RATE_PER_S:g}")
    return float(value)


def _dry_run(value: Any) -> bool:
    if type(value) is not bool:
        raise _WrongPart("must be true or false")
    return value


def _plan(value: Any) -> str:
    if type(value) is not str or not 1 <= len(value) <= MOST_TOKEN_CHARS:
        raise _WrongPart("must be the plan of a dry run, unchanged")
    return value


def _reason(value: Any) -> str:
    if type(value) is not str or not 1 <= len(value) <= MAX_REASON_CHARS:
        raise _WrongPart(f"must be a text of 1 to {MAX_REASON_CHARS:,} characters")
    return value


def _resolution(value: Any) -> BulkResolution:
    if type(value) is not dict:
        raise _WrongPart('must be an object such as {"state": "succeeded"}')
    for name in value:
        if name not in RESOLUTION_FIELDS:
            raise _WrongPart(_hint(name, RESOLUTION_FIELDS), f"/{_pointer(name)}")
    state, note = value.get("state"), value.get("note")
    if state not in [end.value for end in RESOLVED_AS]:
        raise _WrongPart(f"must be one of {_listed(RESOLVED_AS)}", "/state")
    if note is not None and not (type(note) is str and len(note) <= MAX_NOTE_CHARS):
        raise _WrongPart(f"must be a text of at most {MAX_NOTE_CHARS} characters", "/note")
    result = msgspec.json.encode(value["result"]) if "result" in value else None
    if result is not None and len(result) > MAX_RESULT_BYTES:
        raise _WrongPart(f"must be at most {MAX_RESULT_BYTES:,} bytes: each job gets a copy", "/result")
    return BulkResolution(State(state), result, note)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "action": _verb,
    "filter": _filter,
    "ids": _ids,
    "rate_per_s": _rate,
    "dry_run": _dry_run,
    "plan": _plan,
    "reason": _reason,
    "resolution": _resolution,
}


def _unknown(members: Iterable[str], known: tuple[str, ...], under: str) -> list[ErrorAt]:
    return [
        {"pointer": f"{under}/{_pointer(name)}", "detail": _hint(name, known)} for name in members if name not in known
    ]


def _refusal(errors: list[ErrorAt], unknown: list[ErrorAt]) -> ProblemError:
    found = [*errors, *unknown]
    detail = f"{found[0]['pointer'][1:] or 'the body'} {found[0]['detail']}"
    if len(found) > 1:
        detail = f"{len(found):,} fields can't be used; the first: {detail}"
    extra = {"known_fields": FIELDS} if unknown else None
    name = "invalid-field" if errors else "unknown-field"
    return ProblemError(problem(name, detail, errors=found[:_MAX_ERRORS], extra=extra))


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name[:_MAX_SHOWN_CHARS].lower(), known, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"is not a known field; {meant}Known: {', '.join(known)}"


def _pointer(name: str) -> str:
    return name[:_MAX_SHOWN_CHARS].replace("~", "~0").replace("/", "~1")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(str(word) for word in words)
