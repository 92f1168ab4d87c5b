"""Lists of parked jobs by what they wait for, and reads of one ledger for a client."""

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from pymongo.database import Database

from acked_common.model.ids import new_id
from acked_common.model.ledger import MAX_UNREAD, LedgerEntry
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import ANY_SIGNAL, NO_SIGNAL
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.bulk_actions import ChosenCount
from acked_common.store.ledgers import EntryPage, Inbox, LedgerSummary
from acked_common.store.mongo import bulk_choice, schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Job, JobFilter
from support.bulk import chosen
from support.factories import insert, new_job, queued, running
from support.ledgers import entry, opened, opening, push, write
from support.profile import Profile
from support.signals import pending, waiting, wake_order
from support.whole_store import JobStore

LARGE = b'"' + b"x" * 5000 + b'"'
LAST = UUID(int=2**128 - 1)


async def listed(store: JobStore, waiting_for: str, **fields: Any) -> list[Any]:
    """The ids of all pages, two jobs a page."""
    found: list[Any] = []
    before = None
    while True:
        page = await store.list_jobs(JobFilter(waiting_for=waiting_for, **fields), page_size=2, before=before)
        found += [job.id for job in page.jobs]
        before = page.next_before
        if before is None:
            return found


async def test_parked_jobs_are_listed_by_what_they_wait_for(store: JobStore) -> None:
    made: dict[str, Job] = {}
    for name, signals in (
        ("paid", ("paid",)),
        ("both", ("late", "paid")),
        ("late", ("late",)),
        ("any", (ANY_SIGNAL,)),
        ("sleep", ()),
        ("more", ("paid",)),
    ):
        made[name] = await waiting(store, *signals, kind="a" if name != "more" else "b")
    woken = await waiting(store, "paid")
    await store.announce(pending(woken.id), wake_order())
    await waiting(store, "paid", tenant="other")
    await queued(store)
    await running(store)

    def ids(*names: str) -> list[Any]:
        return sorted((made[name].id for name in names), reverse=True)

    assert await listed(store, "paid") == ids("paid", "both", "any", "more")
    assert await listed(store, "late") == ids("both", "late", "any")
    assert await listed(store, "unknown") == ids("any")
    assert await listed(store, NO_SIGNAL) == ids("sleep")
    assert await listed(store, "paid", kind="b") == ids("more")
    assert await listed(store, "paid", state=State.WAITING) == ids("paid", "both", "any", "more")
    assert await listed(store, "paid", state=State.FAILED) == []


@pytest.mark.parametrize("waiting_for", ["paid", NO_SIGNAL])
async def test_a_page_looks_at_what_it_shows(
    mongo_store: MongoStore, database: Database[dict[str, Any]], waiting_for: str
) -> None:
    signals = [waiting_for] if waiting_for else []
    for _ in range(30):
        await waiting(mongo_store, *signals)
        await waiting(mongo_store, "other")
        await queued(mongo_store)
    profile = Profile(database, schema.JOBS)
    profile.start()
    page = await mongo_store.list_jobs(JobFilter(waiting_for=waiting_for), page_size=10)
    (operation,) = profile.stop()
    assert len(page.jobs) == 10
    assert "waits.signals" in operation["planSummary"] and not operation.get("hasSortStage")
    # One key more tells whether a further page follows, and one is of the jobs that wait for any signal.
    assert operation["keysExamined"] <= 14 and operation["docsExamined"] <= 11


async def test_parked_jobs_are_chosen_for_bulk_actions_by_what_they_wait_for(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_choice, "COUNT_STEP", 2)
    monkeypatch.setattr(bulk_choice, "SPAN", 2)
    made = [await waiting(store, *names) for names in (("paid",), ("late", "paid"), ("late",), (ANY_SIGNAL,), ())]
    made.append(await waiting(store, "paid", kind="b", batch="c"))
    await waiting(store, "paid", tenant="other")
    await queued(store)
    choices = store.choices()

    async def ids(**fields: Any) -> list[int]:
        choice = chosen(State.WAITING, **fields)
        counted = await choices.count(choice, up_to=LAST, at_most=100, within_s=9.0)
        found: list[Job] = []
        after: UUID | None = None
        while True:
            page = await choices.jobs_in(choice, up_to=LAST, after=after, limit=2)
            found += page.jobs
            if (after := page.next_after) is None:
                break
        assert counted == ChosenCount(len(found), is_exact=True)
        return [[job.id for job in made].index(one.id) for one in found]

    assert await ids(waiting_for="paid") == [0, 1, 3, 5]
    assert await ids(waiting_for="late") == [1, 2, 3]
    assert await ids(waiting_for=NO_SIGNAL) == [4]
    assert await ids(waiting_for="paid", kind="b", batch="c") == [5]
    assert await ids() == [0, 1, 2, 3, 4, 5]


# Reads of one ledger.


async def test_entries_are_read_in_pages_without_values(store: JobStore) -> None:
    ledgers, wanted = store.ledgers(), opening()
    await opened(ledgers, wanted)
    made: list[LedgerEntry] = [entry(seq, value=LARGE if seq % 2 else b"1", name=f"n{seq}") for seq in range(1, 8)]
    await ledgers.write_entries([write(wanted.id, one.seq, one) for one in made])
    bare = [replace(one, value=None) for one in made]
    read = ledgers.read_entries
    assert await read(wanted.id, tenant=DEFAULT_TENANT, after=0, limit=3) == EntryPage(bare[:3], is_last=False)
    assert await read(wanted.id, tenant=DEFAULT_TENANT, after=3, limit=4) == EntryPage(bare[3:], is_last=True)
    assert await read(wanted.id, tenant=DEFAULT_TENANT, after=7, limit=4) == EntryPage([], is_last=True)
    assert await read(wanted.id, tenant="other", after=0, limit=3) is None
    assert await ledgers.read_newest(wanted.id, tenant=DEFAULT_TENANT, limit=2) == [made[6], made[5]]
    assert await ledgers.read_newest(wanted.id, tenant="other", limit=2) is None


async def test_an_inbox_is_read_without_values(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    sent = [push(job_id, f"s{n}", f"n{n}", LARGE if n else b"1") for n in range(3)]
    for one in sent:
        await ledgers.push_signal(one, at=one.signal.at)
    found = await ledgers.read_unread(job_id, tenant=DEFAULT_TENANT)
    assert found == Inbox(tuple(replace(one.signal, value=b"", seq=n) for n, one in enumerate(sent, 1)), 3)
    assert await ledgers.read_unread(job_id, tenant="other") is None


async def test_the_figures_of_a_ledger_name_its_unread_signals(store: JobStore) -> None:
    ledgers = store.ledgers()
    (job,) = await insert(store, new_job())
    assert await ledgers.read_summary(job.id, tenant=DEFAULT_TENANT) is None
    await opened(ledgers, opening(job.id))
    newest = entry(2, value=LARGE)
    await ledgers.write_entries([write(job.id, 1), write(job.id, 2, newest)])
    for signal_id, name, value in (("s1", "paid", b"1"), ("s2", "gone", LARGE), ("s3", "paid", b"1")):
        sent = push(job.id, signal_id, name, value)
        await ledgers.push_signal(sent, at=sent.signal.at)
    summary = await ledgers.read_summary(job.id, tenant=DEFAULT_TENANT)
    assert summary == LedgerSummary(2, 3, ["gone", "paid"], warned=None, newest=replace(newest, value=None))
    assert await ledgers.read_summary(job.id, tenant="other") is None


async def test_the_figures_of_a_ledger_warn_of_a_full_inbox(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    for number in range(MAX_UNREAD * 8 // 10):
        sent = push(job_id, f"s{number}")
        await ledgers.push_signal(sent, at=sent.signal.at)
    summary = await ledgers.read_summary(job_id, tenant=DEFAULT_TENANT)
    assert summary is not None and summary.warned == "800 of at most 1,000 signals are unread"
