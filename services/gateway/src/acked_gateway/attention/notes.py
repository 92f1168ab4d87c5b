"""Parse and validate the body of a note on a group. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.strict_json import StrictJsonError
from acked_common.store.census import NoteChanges
from acked_gateway.attention.operations import MAX_COMMENT_CHARS, MAX_SNOOZE_S

MAX_BODY_BYTES = 16 * 1024
"""A comment of `MAX_COMMENT_CHARS` has at most 12 bytes per character, if all are escaped."""


def read_note(body: bytes, *, client: str, now: datetime) -> NoteChanges:
    """Return the changes that a client's body requests. Raises `ProblemError` with all faults."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid([{"pointer": "", "detail": 'must be an object such as {"taken": true}'}])
    errors: list[ErrorAt] = []
    changes: NoteChanges = {}
    for name, value in members.items():
        read = _READERS.get(name)
        found = (
            f"is not a known field; known fields are {', '.join(_READERS)}"
            if read is None
            else read(value, client, now)
        )
        if isinstance(found, str):
            errors.append({"pointer": f"/{name}", "detail": found})
        else:
            changes.update(found)
    if not members:
        errors.append({"pointer": "", "detail": f"must have at least one of {', '.join(_READERS)}"})
    if errors:
        raise _invalid(errors)
    return changes


def _comment(value: Any, client: str, now: datetime) -> NoteChanges | str:
    """Return the change, or the fault of the value; so do the other readers."""
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_COMMENT_CHARS):
        return {"comment": value}
    return f"must be a text of 1 to {MAX_COMMENT_CHARS:,} characters, or null"


def _taken(value: Any, client: str, now: datetime) -> NoteChanges | str:
    if not isinstance(value, bool):
        return "must be true or false"
    return {"taken_by": client if value else None, "taken_at": now if value else None}


def _snooze(value: Any, client: str, now: datetime) -> NoteChanges | str:
    if value is None:
        return {"snoozed_until": None}
    if _is_number(value) and 0 < value <= MAX_SNOOZE_S:
        return {"snoozed_until": now + timedelta(seconds=value)}
    return f"must be a number of seconds above 0 and up to {MAX_SNOOZE_S:,.0f}, or null"


_READERS: Mapping[str, Callable[[Any, str, datetime], NoteChanges | str]] = {
    "comment": _comment,
    "taken": _taken,
    "snooze_s": _snooze,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _invalid(errors: list[ErrorAt]) -> ProblemError:
    return ProblemError(problem("invalid-field", "the body can't be used; see errors", errors=errors))
