"""The census on MongoDB: counts of jobs, their documents, and the notes on error groups."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pymongo
from pymongo import ReplaceOne, ReturnDocument, UpdateOne

from acked_common.model.attempts import UNGROUPED
from acked_common.model.lifecycle import LIVE
from acked_common.store import census
from acked_common.store.census import (
    Census,
    CensusSummary,
    Example,
    GroupCount,
    GroupTally,
    KnownGroup,
    LiveCount,
    Newest,
    NoteChanges,
    TenantAttention,
    TenantCensus,
)
from acked_common.store.mongo import census_pipelines as pipelines
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors

COUNT_WITHIN_S = 20.0
"""A long count does not mean that the server is unresponsive."""
_IDS_AT_ONCE = 1000


class CensusVerbs(Verbs):
    """`CensusStore` except its lock, and `AttentionStore`."""

    async def count_census(self, *, at: datetime) -> Census:
        began_at = time.monotonic()
        with store_errors("counting jobs"), pymongo.timeout(COUNT_WITHIN_S):
            live = await self._count_live()
            counted = [tenant async for tenant in self._count_failed(at)]
            ids = {pipelines.known_id(one.tenant, group.group) for one in counted for group in one.groups}
            known = {document["_id"]: document async for document in self._known(sorted(ids))}
            examples = await self._examples(counted, known)
        tenants = [_with_kinds(tenant, known, examples) for tenant in counted]
        snoozed = frozenset(
            (document["tenant"], document["group"])
            for document in known.values()
            if (until := document.get("snoozed_until")) is not None and until > at
        )
        took_s = time.monotonic() - began_at
        return Census(census.summarize(live, tenants, snoozed=snoozed, at=at, took_s=took_s), tenants, examples)

    async def _count_live(self) -> list[LiveCount]:
        counts = []
        for state in sorted(LIVE):
            # Read from one snapshot: a renewal moves a job in the index, so it could be counted twice or not at all.
            found = self._connections.snapshot_jobs.aggregate(
                pipelines.live_pipeline(state, census.LIVE_KEYS), hint=schema.LIVE_INDEX
            )
            counts += [pipelines.live_count(state, document) for document in await found.to_list(None)]
        return counts

    async def _count_failed(self, at: datetime) -> AsyncIterator[TenantCensus]:
        """Yield the failed jobs of each tenant that has any, by group."""
        tenants = [one["_id"] for one in await self._keys(pipelines.tenants_pipeline(census.ALL_GROUPS))]
        groups_left, keys_left = census.ALL_GROUPS, census.FAILED_KEYS
        for number, tenant in enumerate(tenants):
            # Tenants with few groups leave the rest of the bound to others.
            most = min(census.TENANT_GROUPS, max(1, groups_left // (len(tenants) - number)))
            newest = [
                pipelines.newest_from(document)
                for document in await self._finished(pipelines.newest_pipeline(tenant, most + 1))
            ]
            is_complete = len(newest) <= most
            tallies, exact = await self._tallies(tenant, newest[:most], at, keys_left)
            groups = census.group_counts(newest[:most], tallies, at, exact=exact)
            if (ungrouped := await self._ungrouped(tenant, at)) is not None:
                groups.append(ungrouped)
            groups_left -= len(groups)
            keys_left -= sum(group.count for group in groups)
            yield TenantCensus(tenant, at, groups, is_complete)

    async def _tallies(
        self, tenant: str, newest: Sequence[Newest], at: datetime, keys_left: int
    ) -> tuple[list[GroupTally], dict[str, bool]]:
        """Count the groups of a tenant: with one query if they have few jobs, else with one per group."""
        if not newest:
            return [], {}
        if keys_left > 0:
            pipeline = pipelines.tally_pipeline(tenant, None, at, census.TENANT_KEYS)
            tallies = [pipelines.tally_from(document) for document in await self._finished(pipeline)]
            if sum(tally.jobs for tally in tallies) < census.TENANT_KEYS:
                return tallies, {}
        tallies, exact = [], {}
        for group, _, _ in newest:
            most = census.GROUP_KEYS if keys_left > 0 else census.LEAST_KEYS
            pipeline = pipelines.tally_pipeline(tenant, group, at, most)
            own = [pipelines.tally_from(document) for document in await self._finished(pipeline)]
            count = sum(tally.jobs for tally in own)
            exact[group] = count < most
            keys_left -= count
            tallies += own
        return tallies, exact

    async def _ungrouped(self, tenant: str, at: datetime) -> GroupCount | None:
        looked = await self._finished(pipelines.ungrouped_pipeline(tenant, at, census.UNGROUPED_LOOKS))
        if not looked:
            return None
        last = max(looked, key=lambda document: document["last_at"])
        newest = Newest(UNGROUPED, last["newest"], last["last_at"])
        tallies = [pipelines.tally_from(document) for document in looked]
        is_exact = sum(tally.jobs for tally in tallies) < census.UNGROUPED_LOOKS
        (count,) = census.group_counts([newest], tallies, at, exact={UNGROUPED: is_exact})
        return count

    async def _keys(self, pipeline: list[Document]) -> list[Document]:
        found = self._connections.jobs.aggregate(pipeline, hint=pipelines.GROUP_INDEX)
        return await found.to_list(None)

    async def _finished(self, pipeline: list[Document]) -> list[Document]:
        found = self._connections.jobs.aggregate(pipeline, hint=pipelines.FINISHED_INDEX)
        return await found.to_list(None)

    async def _known(self, ids: Sequence[str]) -> AsyncIterator[Document]:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            wanted = {"_id": {"$in": ids[start : start + _IDS_AT_ONCE]}}
            for document in await self._connections.error_groups.find(wanted).to_list(None):
                yield document

    async def _examples(
        self, tenants: Iterable[TenantCensus], known: Mapping[str, Document]
    ) -> dict[tuple[str, str], Example]:
        """Read the newest jobs of groups that are new or have a newer one."""
        new: dict[UUID, tuple[str, str]] = {}
        changed: dict[UUID, tuple[str, str]] = {}
        for tenant in tenants:
            for group in tenant.groups:
                document = known.get(pipelines.known_id(tenant.tenant, group.group))
                if document is None or "forget_at" in document:
                    new[group.newest] = tenant.tenant, group.group
                elif document["newest"] != group.newest and len(changed) < census.EXAMPLES:
                    changed[group.newest] = tenant.tenant, group.group
        keys = new | changed
        criteria = {"_id": {"$in": list(keys)}}
        found = self._connections.jobs.find(criteria, dict.fromkeys(pipelines.EXAMPLE_FIELDS, 1))
        return {keys[document["_id"]]: pipelines.example_from(document) for document in await found.to_list(None)}

    async def write_census(self, counted: Census) -> None:
        at = counted.summary.counted_at
        present = {
            pipelines.known_id(tenant.tenant, group.group): (tenant.tenant, group)
            for tenant in counted.tenants
            for group in tenant.groups
        }
        with store_errors("writing a census"):
            before = await self._connections.census.find(
                {**pipelines.is_of_tenant(), "forget_at": {"$exists": False}}, {"groups.group": 1}
            ).to_list(None)
            # Records first, because every group in a tenant's document must have one.
            updates = [
                UpdateOne({"_id": known_id}, pipelines.known_update(tenant, group, example), upsert=True)
                for known_id, (tenant, group) in present.items()
                if (example := counted.examples.get((tenant, group.group))) is not None
            ]
            if updates:
                await self._connections.error_groups.bulk_write(updates, ordered=False)
            await self._forget(_gone(before, present), at)
            there = {tenant.tenant for tenant in counted.tenants}
            empty = [tenant for one in before if (tenant := pipelines.tenant_from_id(one["_id"])) not in there]
            writes = [
                ReplaceOne({"_id": pipelines.tenant_id(tenant.tenant)}, pipelines.tenant_document(tenant), upsert=True)
                for tenant in counted.tenants
            ]
            writes += [
                ReplaceOne(
                    {"_id": pipelines.tenant_id(tenant)},
                    pipelines.tenant_document(TenantCensus(tenant, at, (), is_complete=True))
                    | pipelines.forgetting(at, census.GROUP_KEPT_S)["$set"],
                )
                for tenant in empty
            ]
            writes.append(
                ReplaceOne({"_id": pipelines.SUMMARY}, pipelines.summary_document(counted.summary), upsert=True)
            )
            await self._connections.census.bulk_write(writes, ordered=True)

    async def _forget(self, gone: Sequence[str], at: datetime) -> None:
        for start in range(0, len(gone), _IDS_AT_ONCE):
            wanted: Document = {"_id": {"$in": gone[start : start + _IDS_AT_ONCE]}, "forget_at": {"$exists": False}}
            groups = self._connections.error_groups
            await groups.update_many({**wanted, **pipelines.HAS_NOTES}, pipelines.forgetting(at, census.NOTES_KEPT_S))
            await groups.update_many(wanted, pipelines.forgetting(at, census.GROUP_KEPT_S))

    async def read_census(self) -> CensusSummary | None:
        with store_errors("reading the census"):
            found = await self._connections.census.find_one({"_id": pipelines.SUMMARY})
        return None if found is None else pipelines.summary_from(found)

    async def read_attention(self, *, tenant: str) -> TenantAttention:
        own, summary = pipelines.tenant_id(tenant), pipelines.SUMMARY
        with store_errors("reading what needs attention"):
            found = await self._connections.census.find(
                {"_id": {"$in": [own, summary]}}, {"counted_at": 1, "is_complete": 1, "groups": 1}
            ).to_list(None)
            documents = {document["_id"]: document for document in found}
            counted = documents.get(own) or documents.get(summary)
            if counted is None:
                return TenantAttention(None, is_complete=True, groups=(), known={})
            groups = [pipelines.group_from(one, census.MINUTES) for one in counted.get("groups", ())]
            ids = [pipelines.known_id(tenant, group.group) for group in groups]
            known = [pipelines.known_from(document) async for document in self._known(ids)]
        counted_at = counted["counted_at"]
        if not groups and summary in documents:
            # A tenant without failed jobs has no new document.
            counted_at = documents[summary]["counted_at"]
        return TenantAttention(counted_at, counted.get("is_complete", True), groups, {one.group: one for one in known})

    async def note_group(self, group: str, changes: NoteChanges, *, tenant: str) -> KnownGroup | None:
        update: Document = {}
        if kept := {name: value for name, value in changes.items() if value is not None}:
            update["$set"] = kept
        if removed := {name: "" for name, value in changes.items() if value is None}:
            update["$unset"] = removed
        with store_errors("noting on a group"):
            found = await self._connections.error_groups.find_one_and_update(
                {"_id": pipelines.known_id(tenant, group)}, update, return_document=ReturnDocument.AFTER
            )
        return None if found is None else pipelines.known_from(found)

    async def known_group(self, group: str, *, tenant: str) -> KnownGroup | None:
        with store_errors("reading a group"):
            found = await self._connections.error_groups.find_one({"_id": pipelines.known_id(tenant, group)})
        return None if found is None else pipelines.known_from(found)


def _with_kinds(
    tenant: TenantCensus, known: Mapping[str, Document], examples: Mapping[tuple[str, str], Example]
) -> TenantCensus:
    def kind_of(group: str) -> str | None:
        example = examples.get((tenant.tenant, group))
        document: Mapping[str, Any] = known.get(pipelines.known_id(tenant.tenant, group), {})
        return example.kind if example is not None else document.get("kind")

    return replace(tenant, groups=[census.with_kind(group, kind_of(group.group)) for group in tenant.groups])


def _gone(before: Iterable[Document], present: Mapping[str, object]) -> list[str]:
    """Return the ids of the groups of the previous census that this one lacks."""
    found = []
    for document in before:
        tenant = pipelines.tenant_from_id(document["_id"])
        ids = (pipelines.known_id(tenant, group["group"]) for group in document.get("groups", ()))
        found += [known_id for known_id in ids if known_id not in present]
    return found
