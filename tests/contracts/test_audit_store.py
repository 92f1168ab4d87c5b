"""The store of the audit: every entry as it was written, newest first, and only those of the tenant."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pytest
from pymongo import DESCENDING
from pymongo.database import Database

from acked_common.model.audit import KEPT_DAYS, TARGETS, AuditAction, AuditEntry, AuditFilter, new_entry
from acked_common.model.ids import id_at
from acked_common.model.principal import Actor, Operator
from acked_common.store.audit import AuditStore
from acked_common.store.mongo import schema
from acked_common.store.mongo.audit import audit_criteria, audit_document, index_for
from acked_common.store.mongo.store import MongoStore
from support.factories import now
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AT = now()


@pytest.fixture
def audit(store: AnyStore) -> AuditStore:
    return store.audit()


def entry(
    action: AuditAction = AuditAction.RETRY,
    *,
    tenant: str = "acme",
    client: str = "ada",
    at: datetime = AT,
    **more: Any,
) -> AuditEntry:
    operator = Operator(tenant, Actor(client, "t" * 12))
    return new_entry(operator, action, {"job": str(id_at(at))}, at=at, **more)


async def noted(audit: AuditStore, entries: Sequence[AuditEntry]) -> None:
    for one in entries:
        await audit.note(one)


async def listed(audit: AuditStore, tenant: str = "acme", **wanted: Any) -> list[AuditEntry]:
    page = await audit.list(AuditFilter(tenant, **wanted), page_size=100)
    assert page.next_before is None
    return list(page.entries)


async def test_an_entry_comes_back_as_it_was_noted(audit: AuditStore) -> None:
    whole = entry(AuditAction.BULK, reason="the bank was away", count=140)
    local = new_entry(
        Operator("acme", Actor("local")), AuditAction.DRAIN, {"worker": "w"}, at=AT + timedelta(seconds=1)
    )
    await noted(audit, [whole, local])
    assert await listed(audit) == [local, whole]


async def test_pages_follow_each_other_without_a_gap(audit: AuditStore) -> None:
    entries = [entry(at=AT + timedelta(milliseconds=n)) for n in range(7)]
    await noted(audit, entries)
    found: list[AuditEntry] = []
    before, pages = None, 0
    while pages == 0 or before is not None:
        page = await audit.list(AuditFilter("acme"), page_size=3, before=before)
        found += page.entries
        before, pages = page.next_before, pages + 1
    assert (found, pages) == (entries[::-1], 3)


async def test_a_tenant_sees_its_own_entries_alone(audit: AuditStore) -> None:
    mine, theirs = entry(), entry(tenant="globex")
    await noted(audit, [mine, theirs])
    assert await listed(audit) == [mine]
    assert await listed(audit, "globex") == [theirs]
    assert await listed(audit, "nobody") == []


async def test_filters_narrow_the_list(audit: AuditStore) -> None:
    first = entry(AuditAction.RETRY, client="ada", at=AT)
    second = entry(AuditAction.CANCEL, client="ada", at=AT + timedelta(minutes=1))
    third = entry(AuditAction.RETRY, client="bob", at=AT + timedelta(minutes=2))
    await noted(audit, [first, second, third])
    assert await listed(audit, action="retry") == [third, first]
    assert await listed(audit, client="ada") == [second, first]
    assert await listed(audit, client="ada", action="retry") == [first]
    assert await listed(audit, client="bob", action="cancel") == []
    assert await listed(audit, since_at=second.at) == [third, second]
    assert await listed(audit, until_at=second.at) == [first]
    assert await listed(audit, since_at=second.at, until_at=third.at, client="ada") == [second]
    page = await audit.list(AuditFilter("acme", until_at=third.at), page_size=5, before=second.id)
    assert page.entries == [first], "of the bounds above an id the lower one holds"


async def test_entries_of_one_object_are_listed(audit: AuditStore) -> None:
    operator = Operator("acme", Actor("ada"))
    acts = [
        (AuditAction.RETRY, {"job": "1"}),
        (AuditAction.BULK, {"bulk": "1", "action": "retry"}),
        (AuditAction.PAUSE, {"kind": "1"}),
        (AuditAction.CANCEL, {"job": "1"}),
        (AuditAction.CANCEL, {"job": "2"}),
    ]
    entries = [
        new_entry(operator, action, target, at=AT + timedelta(seconds=n)) for n, (action, target) in enumerate(acts)
    ]
    theirs = new_entry(Operator("globex", Actor("ada")), AuditAction.RETRY, {"job": "1"}, at=AT)
    await noted(audit, [*entries, theirs])
    assert await listed(audit, target=("job", "1")) == [entries[3], entries[0]]
    assert await listed(audit, target=("bulk", "1")) == [entries[1]]
    assert await listed(audit, target=("kind", "1")) == [entries[2]]
    assert await listed(audit, target=("job", "1"), until_at=AT + timedelta(seconds=1)) == [entries[0]]
    assert await listed(audit, target=("job", "3")) == []


@pytest.mark.parametrize("name", TARGETS)
async def test_a_page_of_one_object_looks_at_no_other_entries(
    mongo_store: MongoStore, database: "Database[dict[str, Any]]", name: str
) -> None:
    entries = [
        new_entry(Operator(tenant, Actor("ada")), action, {name: f"{n % 4}"}, at=AT + timedelta(seconds=n))
        for n in range(100)
        for action in (AuditAction.RETRY, AuditAction.CANCEL)
        for tenant in ("acme", "globex")
    ]
    database.audit.insert_many([audit_document(one) for one in entries])
    wish = AuditFilter("acme", target=(name, "3"), since_at=AT, until_at=AT + timedelta(hours=1))
    found = database.audit.find(audit_criteria(wish, None)).sort("_id", DESCENDING).limit(11).hint(index_for(wish))
    stats = found.explain()["executionStats"]
    assert (stats["nReturned"], stats["totalDocsExamined"]) == (11, 11)
    assert stats["totalKeysExamined"] <= 12
    assert len((await mongo_store.audit().list(wish, page_size=10)).entries) == 10


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"action": "retry"},
        {"client": "ada"},
        {"client": "ada", "action": "retry"},
        {"client": "ada", "action": "retry", "since_at": AT, "until_at": AT + timedelta(hours=1)},
    ],
    ids=lambda wanted: "+".join(wanted) or "all",
)
async def test_a_page_looks_at_no_other_entries(
    mongo_store: MongoStore, database: "Database[dict[str, Any]]", wanted: dict[str, Any]
) -> None:
    entries = [
        entry(action, client=client, tenant=tenant, at=AT + timedelta(seconds=n))
        for n in range(100)
        for action in (AuditAction.RETRY, AuditAction.CANCEL)
        for client in ("ada", "bob")
        for tenant in ("acme", "globex")
    ]
    database.audit.insert_many([audit_document(one) for one in entries])
    wish = AuditFilter("acme", **wanted)
    found = database.audit.find(audit_criteria(wish, None)).sort("_id", DESCENDING).limit(11).hint(index_for(wish))
    stats = found.explain()["executionStats"]
    assert (stats["nReturned"], stats["totalDocsExamined"]) == (11, 11)
    assert stats["totalKeysExamined"] <= 12
    assert len((await mongo_store.audit().list(wish, page_size=10)).entries) == 10


async def test_entries_are_kept_for_over_a_year(mongo_store: MongoStore, database: "Database[dict[str, Any]]") -> None:
    indexes = database[schema.AUDIT].index_information()
    assert indexes["kept"]["expireAfterSeconds"] == KEPT_DAYS * 24 * 3600
    assert indexes["kept"]["key"] == [("at", 1)]
    assert KEPT_DAYS > 366
