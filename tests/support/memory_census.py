"""The census and attention of the in-memory store: counted over all of its jobs, as often as it is asked for."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from acked_common.model.attempts import UNGROUPED
from acked_common.model.lifecycle import State
from acked_common.store import census
from acked_common.store.census import (
    Census,
    CensusSummary,
    Example,
    GroupNotes,
    GroupTally,
    KnownGroup,
    LiveCount,
    Newest,
    NoteChanges,
    TenantAttention,
    TenantCensus,
)
from acked_common.store.mongo.census_pipelines import example_from
from acked_common.store.mongo.documents import ATTENDED_TO, Document


class MemoryCensus:
    """`CensusStore` beside the turns, and `AttentionStore`."""

    _jobs: Mapping[UUID, Document]

    def __init__(self) -> None:
        super().__init__()
        self._summary: CensusSummary | None = None
        self._tenants: dict[str, TenantCensus] = {}
        self._known: dict[tuple[str, str], KnownGroup] = {}

    async def count_census(self, *, at: datetime) -> Census:
        tenants = [self._tenant(name, at) for name in sorted({tenant for tenant, _, _ in self._failed()})]
        examples: dict[tuple[str, str], Example] = {}
        for tenant in tenants:
            for group in tenant.groups:
                examples[tenant.tenant, group.group] = example_from(self._jobs[group.newest])
        live = self._live()
        tenants = [
            replace(
                tenant,
                groups=[census.with_kind(group, examples[tenant.tenant, group.group].kind) for group in tenant.groups],
            )
            for tenant in tenants
        ]
        snoozed = frozenset(
            key
            for key, known in self._known.items()
            if known.notes.snoozed_until is not None and known.notes.snoozed_until > at
        )
        return Census(census.summarize(live, tenants, snoozed=snoozed, at=at, took_s=0.0), tenants, examples)

    def _live(self) -> list[LiveCount]:
        counts: Counter[tuple[State, str]] = Counter()
        oldest: dict[tuple[State, str], datetime] = {}
        for document in self._jobs.values():
            state = State(document["state"])
            if state.is_terminal or counts[state, document["kind"]] >= census.LIVE_KEYS:
                continue
            key = state, document["kind"]
            counts[key] += 1
            if (queued_at := document.get("queued_at")) is not None:
                oldest[key] = min(queued_at, oldest.get(key, queued_at))
        return [LiveCount(state, kind, count, oldest.get((state, kind))) for (state, kind), count in counts.items()]

    def _failed(self) -> Iterator[tuple[str, str, Document]]:
        """Yield tenant, group and document of each failed job that needs attention."""
        for document in self._jobs.values():
            if document["state"] != State.FAILED.value:
                continue
            group = (document.get("error") or {}).get("group")
            if group is not None:
                yield document["tenant"], group, document
            elif document["reason"] not in ATTENDED_TO:
                yield document["tenant"], UNGROUPED, document

    def _tenant(self, name: str, at: datetime) -> TenantCensus:
        newest: dict[str, Newest] = {}
        tallies = []
        for tenant, group, document in self._failed():
            if tenant != name:
                continue
            failed_at = document["finished_at"]
            known = newest.get(group)
            if known is None or (known.failed_at, known.id) < (failed_at, document["_id"]):
                newest[group] = Newest(group, document["_id"], failed_at)
            minute = failed_at.replace(second=0, microsecond=0) if failed_at >= census.hour_before(at) else None
            kind = document["kind"] if group == UNGROUPED else None
            tallies.append(GroupTally(group, kind, minute, 1, failed_at, failed_at))
        groups = census.group_counts(sorted(newest.values()), tallies, at, exact={})
        return TenantCensus(name, at, groups[: census.TENANT_GROUPS], len(groups) <= census.TENANT_GROUPS)

    async def write_census(self, counted: Census) -> None:
        for tenant in counted.tenants:
            for group in tenant.groups:
                key = tenant.tenant, group.group
                known = self._known.get(key)
                first_at = group.first_at if known is None else min(known.first_at, group.first_at)
                notes = GroupNotes() if known is None else known.notes
                example = counted.examples[key]
                self._known[key] = KnownGroup(group.group, first_at, example, group.newest, notes)
        self._tenants = {tenant.tenant: tenant for tenant in counted.tenants}
        self._summary = counted.summary

    async def read_census(self) -> CensusSummary | None:
        return self._summary

    async def read_attention(self, *, tenant: str) -> TenantAttention:
        if self._summary is None:
            return TenantAttention(None, is_complete=True, groups=(), known={})
        found = self._tenants.get(tenant) or TenantCensus(tenant, self._summary.counted_at, (), is_complete=True)
        known = {group.group: self._known[tenant, group.group] for group in found.groups}
        return TenantAttention(found.counted_at, found.is_complete, found.groups, known)

    async def known_group(self, group: str, *, tenant: str) -> KnownGroup | None:
        return self._known.get((tenant, group))

    async def note_group(self, group: str, changes: NoteChanges, *, tenant: str) -> KnownGroup | None:
        known = self._known.get((tenant, group))
        if known is not None:
            known = self._known[tenant, group] = replace(known, notes=replace(known.notes, **changes))
        return known
