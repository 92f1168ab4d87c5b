"""The records of a census of jobs, and the figures derived from them. Pure.

A census counts live jobs by kind and state, and failed jobs by tenant and error group. One gateway counts, and all read
the result. Each count has a bound; a count that reaches it is marked as inexact.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypedDict
from uuid import UUID

from acked_common.model.lifecycle import State

LIVE_KEYS = 100_000
"""Maximum of live jobs of one state that are counted."""
GROUP_KEYS = 100_000
"""Maximum of failed jobs of one group that are counted."""
TENANT_KEYS = 120_000
"""Up to this number of failed jobs of a tenant, one query counts all of its groups; beyond it, one query per group."""
FAILED_KEYS = 1_000_000
"""Maximum of failed jobs of all tenants that are counted; beyond it, at most `LEAST_KEYS` of each further group."""
LEAST_KEYS = 100
TENANT_GROUPS = 1_000
ALL_GROUPS = 5_000
UNGROUPED_LOOKS = 2_000
"""Maximum of failed jobs of a tenant without a group that are counted; this needs their documents."""
EXAMPLES = 1_000
"""Maximum of newest jobs that one census reads for known groups; it reads those of all new groups."""
KINDS = 200
OTHER_KINDS = "other"
"""The kinds beyond `KINDS`, together."""

MINUTES = 60
NOTES_KEPT_S = 90 * 86400.0
"""How long notes on a group outlive its jobs."""
GROUP_KEPT_S = 86400.0
"""The same for a group without notes."""
_MINUTE = timedelta(minutes=1)


class LiveCount(NamedTuple):
    """Live jobs of one kind and state, and since when the longest waiting one has been queued."""

    state: State
    kind: str
    jobs: int
    oldest_queued_at: datetime | None


@dataclass(frozen=True, slots=True)
class KindCount:
    """The figures of one kind."""

    kind: str
    states: Mapping[State, int]
    """Live jobs, and failed jobs that need attention, snoozed or not."""
    oldest_queued_at: datetime | None
    attention: int
    """Failed jobs whose groups are not snoozed."""


@dataclass(frozen=True, slots=True)
class GroupCount:
    """The failed jobs of one group of a tenant."""

    group: str
    count: int
    is_exact: bool
    first_at: datetime
    """When the first of the counted jobs failed."""
    last_at: datetime
    newest: UUID
    """The job that failed last."""
    per_minute: tuple[int, ...]
    """Counts of the last `MINUTES`, oldest first; the last one is the minute of the census, and incomplete."""
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TenantCensus:
    """The failed jobs of one tenant by group."""

    tenant: str
    counted_at: datetime
    groups: Sequence[GroupCount]
    is_complete: bool
    """Whether all groups are included."""


@dataclass(frozen=True, slots=True)
class CensusSummary:
    """The figures over all tenants."""

    counted_at: datetime
    took_s: float
    kinds: Sequence[KindCount]
    inexact: frozenset[State]
    """States with more jobs than were counted."""


@dataclass(frozen=True, slots=True)
class Example:
    """The error of the newest job of a group."""

    kind: str
    type: str
    message: str
    culprit: str | None


@dataclass(frozen=True, slots=True)
class GroupNotes:
    """The notes on a group."""

    comment: str | None = None
    taken_by: str | None = None
    taken_at: datetime | None = None
    snoozed_until: datetime | None = None


class NoteChanges(TypedDict, total=False):
    """The notes to change; None removes one."""

    comment: str | None
    taken_by: str | None
    taken_at: datetime | None
    snoozed_until: datetime | None


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """The record of a group, stored while it has failed jobs and for some time beyond."""

    group: str
    first_at: datetime
    """When its first job failed, including jobs that were retried since."""
    example: Example
    newest: UUID
    notes: GroupNotes


@dataclass(frozen=True, slots=True)
class Census:
    """The result of one count; `examples` are the newest jobs of groups, by tenant and group."""

    summary: CensusSummary
    tenants: Sequence[TenantCensus]
    examples: Mapping[tuple[str, str], Example]


@dataclass(frozen=True, slots=True)
class TenantAttention:
    """The figures for a tenant's clients: the last census, and the records of its groups."""

    counted_at: datetime | None
    """None before the first census."""
    is_complete: bool
    groups: Sequence[GroupCount]
    known: Mapping[str, KnownGroup]


class GroupTally(NamedTuple):
    """Failed jobs of one group in one minute of the last hour, or before it (`minute` is None)."""

    group: str
    kind: str | None
    """None if the group has only one kind, that of its newest job."""
    minute: datetime | None
    jobs: int
    first_at: datetime
    last_at: datetime


class Newest(NamedTuple):
    """The job of a group that failed last."""

    group: str
    id: UUID
    failed_at: datetime


def hour_before(at: datetime) -> datetime:
    """Return the beginning of the first of the `MINUTES` with separate counts."""
    return _minute_of(at) - (MINUTES - 1) * _MINUTE


def _minute_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def group_counts(
    newest: Iterable[Newest], tallies: Iterable[GroupTally], at: datetime, *, exact: Mapping[str, bool]
) -> list[GroupCount]:
    """Return the groups with their counts. Omit a group without a tally: its jobs are gone."""
    by_group: defaultdict[str, list[GroupTally]] = defaultdict(list)
    for tally in tallies:
        by_group[tally.group].append(tally)
    began_at = hour_before(at)
    found = []
    for group, job_id, failed_at in newest:
        own = by_group.get(group)
        if not own:
            continue
        per_minute = [0] * MINUTES
        kinds: Counter[str] = Counter()
        for tally in own:
            if tally.minute is not None:
                # A job that failed during the count belongs to the last minute.
                minute = min((tally.minute - began_at) // _MINUTE, MINUTES - 1)
                per_minute[max(minute, 0)] += tally.jobs
            if tally.kind is not None:
                kinds[tally.kind] += tally.jobs
        found.append(
            GroupCount(
                group=group,
                count=sum(tally.jobs for tally in own),
                is_exact=exact.get(group, True),
                first_at=min(tally.first_at for tally in own),
                last_at=max(failed_at, *(tally.last_at for tally in own)),
                newest=job_id,
                per_minute=tuple(per_minute),
                kinds=kinds,
            )
        )
    return found


def with_kind(count: GroupCount, kind: str | None) -> GroupCount:
    """Return the count of a group with one kind, completed with the kind of its newest job."""
    return count if count.kinds or kind is None else replace(count, kinds={kind: count.count})


def summarize(
    live: Iterable[LiveCount],
    tenants: Iterable[TenantCensus],
    *,
    snoozed: frozenset[tuple[str, str]],
    at: datetime,
    took_s: float,
) -> CensusSummary:
    """Return the figures over all tenants; `snoozed` are tenants and groups. Kinds beyond `KINDS` count as one."""
    states: defaultdict[str, Counter[State]] = defaultdict(Counter)
    oldest: dict[str, datetime] = {}
    attention: Counter[str] = Counter()
    totals: Counter[State] = Counter()
    inexact: set[State] = set()
    for state, kind, count, queued_at in live:
        states[kind][state] += count
        totals[state] += count
        if state is State.QUEUED and queued_at is not None:
            oldest[kind] = min(queued_at, oldest.get(kind, queued_at))
    for tenant in tenants:
        if not (tenant.is_complete and all(group.is_exact for group in tenant.groups)):
            inexact.add(State.FAILED)
        for group in tenant.groups:
            for kind, count in group.kinds.items():
                states[kind][State.FAILED] += count
                if (tenant.tenant, group.group) not in snoozed:
                    attention[kind] += count
    inexact |= {state for state, count in totals.items() if count >= LIVE_KEYS}
    kinds = [KindCount(kind, dict(states[kind]), oldest.get(kind), attention[kind]) for kind in sorted(states)]
    if len(kinds) > KINDS:
        kinds = [*kinds[:KINDS], _together(kinds[KINDS:])]
    return CensusSummary(at, took_s, kinds, frozenset(inexact))


def _together(kinds: Sequence[KindCount]) -> KindCount:
    states: Counter[State] = Counter()
    for kind in kinds:
        states.update(kind.states)
    oldest = [kind.oldest_queued_at for kind in kinds if kind.oldest_queued_at is not None]
    return KindCount(OTHER_KINDS, dict(states), min(oldest, default=None), sum(kind.attention for kind in kinds))
