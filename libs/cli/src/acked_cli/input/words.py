"""Read filters, rates and durations as people type them. Pure."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping

from acked_client import AuditFilter, JobFilter

JOB_FIELDS: Mapping[str, str] = {
    "state": "state",
    "kind": "kind",
    "batch": "batch",
    "tag": "tag",
    "error": "error_group",
    "waiting_for": "waiting_for",
    "since": "since",
    "until": "until",
}
"""The words of a filter, and the fields of `JobFilter` that they stand for."""
AUDIT_FIELDS: Mapping[str, str] = {name: name for name in ("action", "client", "job", "kind", "since", "until")} | {
    "bulk": "bulk_action"
}
WORKER = "worker"

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS_S: Mapping[str | None, float] = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class BadInput(ValueError):
    """What was typed has no meaning; the text says what has."""


def parse_filter(text: str) -> JobFilter:
    """Return the filter of one argument, such as `state=failed kind=invoice`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"the filter {text!r} can't be read: {error}") from None
    fields = _fields(words, JOB_FIELDS)
    if not fields:
        raise BadInput("the filter is empty and would select all jobs: name a field, such as state=failed")
    return JobFilter(**fields)


def parse_job_words(words: Iterable[str]) -> tuple[JobFilter | None, str | None]:
    """Return the filter of several arguments, and the worker whose jobs are listed."""
    fields = _fields(words, {**JOB_FIELDS, WORKER: WORKER})
    worker = fields.pop(WORKER, None)
    return (JobFilter(**fields) if fields else None), worker


def parse_audit_words(words: Iterable[str]) -> AuditFilter | None:
    """Return the filter of the audit."""
    fields = _fields(words, AUDIT_FIELDS)
    return AuditFilter(**fields) if fields else None


def _fields(words: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = {"error.group": "error", "waiting-for": "waiting_for"}.get(name, name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}=?" if near else f"the fields are {', '.join(known)}"
            raise BadInput(f"{name!r} is not a field of a filter:  {hint}")
        if not equals or not value:
            raise BadInput(f"{word!r} has no value: write {name}=…")
        if known[name] in found:
            raise BadInput(f"{name} is given twice; give it once")
        found[known[name]] = value
    return found


def parse_rate(text: str) -> float:
    """Return jobs per second: of `20/s`, `20` or `90/min`."""
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise BadInput(f"{text!r} is not a rate: write 20/s, or 90/min")
    return float(match[1]) / (60 if match[2] == "min" else 1)


def parse_duration_s(text: str) -> float:
    """Return seconds: of `90`, `90s`, `15m`, `8h`, `2d` or `500ms`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is not a duration: write 90s, 15m, 8h or 2d")
    return float(match[1]) * _UNITS_S[match[2]]


def parse_whole_s(text: str | None) -> int | None:
    """Return whole seconds; None for no option."""
    if text is None:
        return None
    found = parse_duration_s(text)
    if not found.is_integer():
        raise BadInput(f"{text!r} is not a whole number of seconds")
    return int(found)
