"""OWNER of the columns in the table of each record. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Cell = Callable[[Mapping[str, Any]], object]
Columns = Mapping[str, Cell]


def _of(name: str) -> Cell:
    return lambda row: row.get(name)


def _fields(*names: str) -> Columns:
    return {name: _of(name) for name in names}


def _counts(row: Mapping[str, Any]) -> str:
    return " ".join(f"{state}={count}" for state, count in (row.get("states") or {}).items())


def _error(row: Mapping[str, Any]) -> str | None:
    error = row.get("error")
    return None if not error else f"{error['type']}: {error['message']}"


def _count(row: Mapping[str, Any]) -> str:
    return f"{row['count']}{'' if row['count_is_exact'] else '+'}"


def _total(row: Mapping[str, Any]) -> str:
    return f"{row['total']}{'' if row['total_is_exact'] else '+'}"


def _matched(row: Mapping[str, Any]) -> str:
    return f"{row['matched']}{'' if row['matched_is_exact'] else '+'}"


def _refused(row: Mapping[str, Any]) -> str:
    return " ".join(f"{reason}={count}" for reason, count in row["refused"].items())


def _why(row: Mapping[str, Any]) -> object:
    found = row.get("problem")
    return None if not found else f"{found['status']} {found['name']}: {found['detail']}"


def _kind_flags(row: Mapping[str, Any]) -> str:
    parts = []
    if paused := row.get("paused"):
        parts.append(f"paused by {paused['client']} since {shown(paused['since'])}: {paused['reason'] or '-'}")
    if limit := row.get("limit"):
        parts += [f"{name}<={limit[name]}" for name in ("running", "per_tenant") if limit[name] is not None]
    return "; ".join(parts)


def _target(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={shown(value)}" for name, value in row["target"].items())


def _fires(row: Mapping[str, Any]) -> str:
    if row["every_s"] is not None:
        return f"every {row['every_s']} s"
    return f"{row['cron']} {row['timezone']}"


def _newest_firing(row: Mapping[str, Any]) -> str | None:
    firing = row["last_firing"]
    if not firing:
        return None
    return f"{shown(firing['last_at'] or firing['at'])} {firing['outcome']}{_because(firing)}"


def _because(firing: Mapping[str, Any]) -> str:
    return f": {firing['why']}" if firing["why"] else ""


def _schedule_paused(row: Mapping[str, Any]) -> str | None:
    paused = row["paused"]
    return paused and f"by {paused['client']} since {shown(paused['since'])}: {paused['reason'] or '-'}"


def _events(row: Mapping[str, Any]) -> str:
    return " ".join(event.removeprefix("job.") for event in row["events"])


def _endpoint_disabled(row: Mapping[str, Any]) -> str | None:
    found = row["disabled"]
    return found and f"by {found['by']} since {shown(found['at'])}: {found['reason'] or '-'}"


def _backfill(row: Mapping[str, Any]) -> str | None:
    found = row["backfill"]
    if not found:
        return None
    counts = f"{found['started']} started, {found['present']} had a job, {found['refused']} refused"
    return f"{'ended' if found['ended_at'] else 'under way'}: {counts}"


def _newest_attempt(row: Mapping[str, Any]) -> str | None:
    if not row["attempts"]:
        return None
    newest = row["attempts"][-1]
    return newest["error"] or f"{newest['response']['status'] if newest['response'] else newest['outcome']}"


_SECRET = _fields("id", "made_at", "ends_at")

OF_RECORDS: Mapping[str, Columns] = {
    "job": {
        **_fields("id", "kind", "state", "attempt"),
        "accepted": _of("accepted_at"),
        "batch": _of("batch"),
        "error": _error,
    },
    "accepted": _fields("id", "kind", "state", "accepted_at", "idempotency_key", "replayed"),
    "edited": _fields("id", "edited_from"),
    "row": {**_fields("line", "id", "idempotency_key", "replayed"), "problem": _why},
    "moved": {**_fields("id", "state", "reason", "run"), "problem": _why},
    "event": _fields("at", "id", "rev", "state", "reason", "attempt"),
    "group": {
        "group": _of("group"),
        "kind": _of("kind"),
        "jobs": _count,
        "last": _of("last_at"),
        "error": lambda row: f"{row['type']}: {row['message']}",
        "taken by": _of("taken_by"),
        "comment": _of("comment"),
    },
    "notes": _fields("group", "comment", "taken_by", "taken_at", "snoozed_until"),
    "example": {**_fields("id", "kind", "state"), "error": _error},
    "bulk": {
        **_fields("id", "action", "state"),
        "matched": _matched,
        "done": _of("done"),
        "refused": _refused,
        "client": lambda row: row["by"]["client"],
        "asked": _of("asked_at"),
        "reason": _of("reason"),
    },
    "kind": {
        **_fields("kind", "lane", "version", "timeout_s", "max_attempts"),
        "seen": _of("seen_at"),
        "state": _kind_flags,
    },
    "worker": {
        **_fields("id", "instance", "running", "slots", "finished", "draining", "version"),
        "since": _of("since"),
        "kinds": lambda row: " ".join(row["kinds"]),
    },
    "drained": _fields("id", "drain_requested"),
    "batch": {"batch": _of("batch"), "jobs": _total, "states": _counts, "newest": _of("newest_at")},
    "one_batch": {
        "batch": _of("batch"),
        "jobs": _total,
        "states": _counts,
        "last": _of("last_at"),
        "took": _of("duration_s"),
    },
    "step": _fields("seq", "name", "key", "call", "state", "at", "took_s", "tries", "due_at"),
    "signal": _fields("seq", "name", "state", "at", "by", "id", "taken_by"),
    "sent": _fields("id", "job", "name", "seq"),
    "schedule": {
        **_fields("name", "kind"),
        "fires": _fires,
        "overlap": _of("overlap"),
        "next": _of("next_at"),
        "newest firing": _newest_firing,
        "paused": _schedule_paused,
        "backfill": _backfill,
    },
    "backfill": _fields("from", "until", "started", "present", "refused", "limit", "next_at", "ended_at"),
    "firing": {
        "at": _of("at"),
        "until": _of("last_at"),
        **_fields("count", "trigger", "outcome", "why", "job", "job_state", "detail"),
    },
    "instant": _fields("at", "local", "fires_at"),
    "delivery": {
        **_fields("id", "event", "state", "run", "resend"),
        "attempts": lambda row: len(row["attempts"]),
        "newest": _newest_attempt,
        **_fields("endpoint", "next_attempt_at", "webhook_id"),
    },
    "forwarded": {
        **_fields("at", "event", "job", "endpoint", "status", "took_s"),
        "error": _of("error"),
    },
    "resent": _fields("id", "webhook_id", "resend"),
    "secret": _SECRET,
    "endpoint": {
        **_fields("name", "state", "url"),
        "events": _events,
        "kinds": lambda row: " ".join(row["kinds"]) or "all",
        "disabled": _endpoint_disabled,
        "failing_since": _of("failing_since"),
    },
    "made_secret": {**_SECRET, "secret": _of("secret")},
    "audit": {
        **_fields("at", "client", "action"),
        "target": _target,
        "jobs": _of("count"),
        "reason": _of("reason"),
    },
    "check": _fields("check", "outcome", "detail", "advice"),
    "restart": _fields("at", "changed", "outcome", "took_s"),
    "attempt": {
        **_fields("run", "attempt", "outcome", "worker", "started_at", "ended_at"),
        "error": _error,
    },
    "history": {
        **_fields("rev", "at", "state", "reason", "attempt"),
        "by": lambda row: row["by"]["client"] if row.get("by") else None,
    },
}
"""The columns of each sort of record, by their titles."""
NEVER_CUT = frozenset({"id", "group", "instance", "idempotency_key", "line", "state", "at"})
"""Columns that are never shortened: people copy them."""


def shown(value: object) -> str:
    """Return the text of a value in a table: instants in UTC to the second, nothing for None."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        case timedelta():
            return f"{value.total_seconds():g} s"
        case float():
            return f"{value:g}"
        case list():
            return ", ".join(shown(item) for item in value)
        case _:
            return str(value)
