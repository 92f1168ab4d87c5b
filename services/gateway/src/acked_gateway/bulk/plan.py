"""Tokens that carry the plan of a bulk action from its dry run to the run. Pure.

A token contains the bounds and the count of a plan, and a digest over these, the tenant, the action, and the filter or
ids as they were sent. The token is not secret: a forged one bounds only the forger's own action.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from acked_common.model.bulk_actions import MAX_PAGE, BulkPlan, BulkVerb

_FORM = struct.Struct(">BQ16sIB")
_VERSION = 1
_DIGEST_BYTES = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
MOST_TOKEN_CHARS = 80
CLOCKS_APART = timedelta(seconds=5)
"""A plan may be that of another gateway, whose idea of the time is its own."""


class PlanError(Exception):
    """The token can't be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PlannedFor:
    """The request that a plan belongs to."""

    tenant: str
    verb: BulkVerb
    wanted: Mapping[str, Any] | Sequence[UUID]
    """The filter as it was sent, or the ids, sorted."""


def token_of(plan: BulkPlan, planned_for: PlannedFor) -> str:
    """Return the token of a plan."""
    ms = (plan.planned_at - _EPOCH) // _MS
    head = _FORM.pack(_VERSION, ms, plan.up_to.bytes, plan.matched, plan.is_exact)
    return _encoded(head + _digest(head, planned_for))


def plan_from(token: str, planned_for: PlannedFor, now: datetime) -> BulkPlan:
    """Return the plan of a token. Raises `PlanError`."""
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        head, digest = data[: _FORM.size], data[_FORM.size :]
        version, ms, up_to, matched, is_exact = _FORM.unpack(head)
        # The decoder skips characters outside the alphabet.
        if _encoded(data) != token or version != _VERSION:
            raise ValueError(token)
        planned_at = _EPOCH + ms * _MS
    except (ValueError, OverflowError, struct.error):
        raise PlanError("must be the plan of a dry run, unchanged") from None
    if digest != _digest(head, planned_for):
        raise PlanError("belongs to another action or other jobs; send the same ones with it, or make a new dry run")
    if planned_at > now + CLOCKS_APART:
        raise PlanError("is in the future, because the clock of the database was set back; make a new dry run")
    return BulkPlan(planned_at, UUID(bytes=up_to), matched, bool(is_exact))


def page_size(rate_per_s: float | None) -> int:
    """Return how many jobs move between two checks of the rate and of an abort: half a second's, at least one."""
    return MAX_PAGE if rate_per_s is None else max(1, min(MAX_PAGE, int(rate_per_s / 2)))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _digest(head: bytes, planned_for: PlannedFor) -> bytes:
    wanted = planned_for.wanted
    text: Any = (
        dict(sorted(wanted.items())) if isinstance(wanted, Mapping) else b"".join(one.bytes for one in wanted).hex()
    )
    made_of = msgspec.json.encode([planned_for.tenant, planned_for.verb.value, text])
    return blake2b(head + made_of, digest_size=_DIGEST_BYTES, person=b"acked bulk plan").digest()
