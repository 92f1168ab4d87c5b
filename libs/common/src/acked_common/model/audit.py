"""OWNER of the audit: which acts of people it names, and what an entry tells. Pure.

An entry is written before the act, so that no act is without one. What became of the act stands in the history of the
job, or in the bulk action: an entry tells what was asked for, and by whom.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import Struct

from acked_common.model.ids import id_at
from acked_common.model.principal import Operator

KEPT_DAYS = 400
"""How long an entry is stored."""


class AuditAction(StrEnum):
    """What a person, or a program with the permission `operate`, may have asked for."""

    CANCEL = "cancel"
    RETRY = "retry"
    RESOLVE = "resolve"
    RUN_NOW = "run_now"
    EDIT = "edit"
    ERASE = "erase"
    DRAIN = "drain"
    PAUSE = "pause"
    RESUME = "resume"
    BULK = "bulk"
    BULK_ABORT = "bulk_abort"
    ATTENTION = "attention"
    TOKEN_MAKE = "token_make"  # noqa: S105 - the name of an act
    TOKEN_REVOKE = "token_revoke"  # noqa: S105 - the name of an act


class AuditEntry(Struct, frozen=True):
    """One act that was asked for. `target` says on what, as JSON values; it never holds a payload or a result."""

    id: UUID
    at: datetime
    tenant: str
    client: str
    token_id: str | None
    """None where the services ask for no token, and for acts at the command line."""
    action: str
    """An `AuditAction`, or the word of a newer version."""
    target: Mapping[str, Any]
    reason: str | None = None
    """What the person gave as the reason."""
    count: int | None = None
    """How many jobs the act concerns, where it was known beforehand."""


class AuditFilter(Struct, frozen=True):
    """Which entries of a tenant a list shows; every part that is given must fit."""

    tenant: str
    action: str | None = None
    client: str | None = None
    since_at: datetime | None = None
    until_at: datetime | None = None
    """The first instant that is not shown."""


def new_entry(
    operator: Operator,
    action: AuditAction,
    target: Mapping[str, Any],
    *,
    at: datetime,
    reason: str | None = None,
    count: int | None = None,
) -> AuditEntry:
    """An entry with an id of its own, which sorts by the instant."""
    actor = operator.actor
    return AuditEntry(
        id_at(at), at, operator.tenant, actor.client, actor.token_id, action.value, target, reason=reason, count=count
    )
