"""Exceptions made of responses that are no success, and of connections that were lost. Pure."""

from typing import Any

import msgspec

from acked_client.core.effects import Lost, Response
from acked_client.core.retry import retry_after_s
from acked_client.model.errors import AckedError, ErrorAt, NoResponse, Problem, UnexpectedResponse
from acked_client.model.problems import class_of

MEDIA_TYPE = "application/problem+json"
_STANDARD = frozenset({"type", "title", "status", "detail", "errors"})
_SHOWN_CHARS = 200


class _Document(msgspec.Struct):
    type: str
    title: str
    status: int
    detail: str
    errors: list[ErrorAt] = []


def error_of(outcome: Response | Lost, *, idempotency_key: str | None = None, where: str = "") -> AckedError:
    """Return the exception of a call that ended with this outcome; `where` names its request."""
    error: AckedError
    if isinstance(outcome, Lost):
        error = NoResponse(f"{where}: {outcome.reason}", may_have_arrived=outcome.may_have_arrived)
    elif (problem := problem_of(outcome)) is not None:
        error = class_of(problem)(problem, retry_after_s=retry_after_s(outcome))
    else:
        shown = outcome.body[:_SHOWN_CHARS].decode("utf-8", "replace")
        error = UnexpectedResponse(
            f"{where}: status {outcome.status}, not from Acked: {shown!r}", status=outcome.status
        )
    error.idempotency_key = idempotency_key
    return error


def problem_of(response: Response) -> Problem | None:
    """Return the problem document of a response; None if it has none."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        return None
    return parse_problem(response.body)


def parse_problem(text: bytes) -> Problem | None:
    """Return a problem; None if the text is none."""
    try:
        document = msgspec.json.decode(text, type=_Document)
        members: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Problem(
        type=document.type,
        title=document.title,
        status=document.status,
        detail=document.detail,
        errors=tuple(document.errors),
        members={name: value for name, value in members.items() if name not in _STANDARD},
    )
