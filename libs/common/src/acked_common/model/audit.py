"""OWNER of the audit: the acts that it names, and the fields of an entry. Pure.

An entry is written before the act, so that no act is without one. It records the request and its client. The outcome is
in the history of the job, or in the bulk action.
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
    """The acts of operators."""

    CANCEL = "cancel"
    RETRY = "retry"
    RESOLVE = "resolve"
    RUN_NOW = "run_now"
    EDIT = "edit"
    ERASE = "erase"
    DRAIN = "drain"
    PAUSE = "pause"
    RESUME = "resume"
    LIMIT = "limit"
    UNLIMIT = "unlimit"
    BULK = "bulk"
    BULK_ABORT = "bulk_abort"
    ATTENTION = "attention"
    SCHEDULE_PUT = "schedule_put"
    SCHEDULE_DELETE = "schedule_delete"
    SCHEDULE_PAUSE = "schedule_pause"
    SCHEDULE_RESUME = "schedule_resume"
    SCHEDULE_RUN = "schedule_run"
    SCHEDULE_BACKFILL = "schedule_backfill"
    TOKEN_MAKE = "token_make"  # noqa: S105 - the name of an act
    CALLBACK_RESEND = "callback_resend"
    CALLBACK_SECRET_MAKE = "callback_secret_make"  # noqa: S105 - the name of an act
    CALLBACK_SECRET_END = "callback_secret_end"  # noqa: S105 - the name of an act
    CALLBACK_ENDPOINT_PUT = "callback_endpoint_put"
    CALLBACK_ENDPOINT_DELETE = "callback_endpoint_delete"
    CALLBACK_ENDPOINT_ENABLE = "callback_endpoint_enable"
    CALLBACK_ENDPOINT_DISABLE = "callback_endpoint_disable"
    TOKEN_REVOKE = "token_revoke"  # noqa: S105 - the name of an act


class AuditEntry(Struct, frozen=True):
    """One act. `target` names its object in JSON values, without payload and result."""

    id: UUID
    at: datetime
    tenant: str
    client: str
    token_id: str | None
    """None if the services require no tokens, and for acts at the command line."""
    action: str
    """An `AuditAction`, or the action of a newer version."""
    target: Mapping[str, Any]
    reason: str | None = None
    """The reason in the request."""
    count: int | None = None
    """The number of jobs that the act concerns, if known in advance."""


TARGETS = ("bulk", "job", "kind")
"""The members of `target` by which entries are listed."""


class AuditFilter(Struct, frozen=True):
    """The filter of a list of entries; an entry must match every part that is set."""

    tenant: str
    action: str | None = None
    client: str | None = None
    since_at: datetime | None = None
    until_at: datetime | None = None
    """The exclusive end of the range."""
    target: tuple[str, str] | None = None
    """One of `TARGETS` and its value. A list by it has no action and no client: an index for each combination would
    cost every entry more than the few entries of one object are worth."""


def new_entry(
    operator: Operator,
    action: AuditAction,
    target: Mapping[str, Any],
    *,
    at: datetime,
    reason: str | None = None,
    count: int | None = None,
) -> AuditEntry:
    """Return an entry with a new id, which sorts by the instant."""
    actor = operator.actor
    return AuditEntry(
        id_at(at), at, operator.tenant, actor.client, actor.token_id, action.value, target, reason=reason, count=count
    )
