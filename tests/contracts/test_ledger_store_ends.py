"""The ends of ledgers: none while the job lives, a day behind its end, and none again after a retry."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pymongo.database import Database

from acked_common.model import interventions
from acked_common.model.ids import new_id
from acked_common.store.ledgers import KEPT_BEHIND_JOB, LOOKED_AT_AFTER, PARTS_KEPT_BEHIND_LEDGER, Collected, Ledgers
from acked_common.store.mongo import schema
from acked_common.store.mongo.field_names import DELETE_AT
from acked_common.store.mongo.ledger_documents import parts_of
from acked_common.store.mongo.store import MongoStore
from support.factories import EXPIRES_IN_S, GRACE_S, RETENTION_S, failed, moved, now, running, succeeded
from support.ledgers import entry, ledger_of, opened, opening, push, write
from support.memory_ledgers import MemoryLedgers
from support.memory_store import MemoryStore
from support.whole_store import JobStore

LARGE = b"x" * 5000
DUE = LOOKED_AT_AFTER + timedelta(seconds=1)


@pytest.fixture
def ledgers(store: JobStore) -> Ledgers:
    return store.ledgers()


async def opened_long_ago(ledgers: Ledgers, job_id: UUID, *, since: timedelta = DUE) -> None:
    """Open a ledger with one entry of its own part, so long ago that its look is due."""
    (_,) = await ledgers.open_ledgers([opening(job_id)], at=now() - since)
    made = entry(1, value=LARGE)
    assert await ledgers.write_entries([write(job_id, 1, made)]) == [made]


def end_of(store: Any, ledgers: Any, job_id: UUID, database: Database[dict[str, Any]] | None) -> datetime | None:
    """The end of a ledger; on MongoDB, also check that its parts end a day later, or never."""
    if isinstance(ledgers, MemoryLedgers):
        return ledgers.ends.get(job_id)
    assert database is not None
    (ledger,) = database[schema.LEDGERS].find({"_id": job_id})
    end: datetime | None = ledger.get(DELETE_AT)
    of_parts = {part.get(DELETE_AT) for part in database[schema.LEDGER_PARTS].find(parts_of(job_id))}
    assert of_parts == {None if end is None else end + PARTS_KEPT_BEHIND_LEDGER}
    return end


@pytest.fixture
def past(request: pytest.FixtureRequest, store: JobStore) -> Database[dict[str, Any]] | None:
    """The database past the store; None for the store in memory."""
    return None if isinstance(store, MemoryStore) else request.getfixturevalue("database")


async def test_a_ledger_ends_a_day_behind_its_job(store: JobStore, ledgers: Ledgers, past: Any) -> None:
    job = await succeeded(store)
    assert job.finished_at is not None
    await opened_long_ago(ledgers, job.id)
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(1, 1)
    end = end_of(store, ledgers, job.id, past)
    assert end is not None
    assert abs(end - job.finished_at - timedelta(seconds=RETENTION_S) - KEPT_BEHIND_JOB) < timedelta(seconds=1)
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(0, 0)


async def test_the_ledger_of_a_live_job_is_looked_at_again_later(store: JobStore, ledgers: Ledgers, past: Any) -> None:
    job = await running(store)
    await opened_long_ago(ledgers, job.id)
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(1, 0)
    assert end_of(store, ledgers, job.id, past) is None
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(0, 0)


async def test_the_ledger_of_a_job_that_is_gone_ends(store: JobStore, ledgers: Ledgers, past: Any) -> None:
    job_id = new_id()
    await opened_long_ago(ledgers, job_id)
    at = now()
    assert await ledgers.collect_ledgers(limit=10, at=at) == Collected(1, 1)
    assert end_of(store, ledgers, job_id, past) == at + KEPT_BEHIND_JOB


async def test_a_ledger_is_not_looked_at_on_its_first_day(store: JobStore, ledgers: Ledgers) -> None:
    job = await succeeded(store)
    await opened_long_ago(ledgers, job.id, since=LOOKED_AT_AFTER - timedelta(minutes=1))
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(0, 0)


async def test_a_ledger_that_only_a_signal_made_ends_too(store: JobStore, ledgers: Ledgers, past: Any) -> None:
    job = await succeeded(store)
    await ledgers.push_signal(push(job.id, value=LARGE), at=now() - DUE)
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(1, 1)
    assert end_of(store, ledgers, job.id, past) is not None


async def test_pages_go_through_all_that_are_due(store: JobStore, ledgers: Ledgers) -> None:
    jobs = [await succeeded(store) for _ in range(3)] + [await running(store) for _ in range(2)]
    for number, job in enumerate(jobs):
        await opened_long_ago(ledgers, job.id, since=DUE + timedelta(seconds=number))
    pages = [await ledgers.collect_ledgers(limit=2, at=now()) for _ in range(4)]
    assert [page.looked_at for page in pages] == [2, 2, 1, 0]
    assert sum(page.ended for page in pages) == 3


async def test_a_retry_keeps_the_ledger(store: JobStore, ledgers: Ledgers, past: Any) -> None:
    job = await failed(store)
    await opened_long_ago(ledgers, job.id)
    await ledgers.collect_ledgers(limit=10, at=now())
    assert end_of(store, ledgers, job.id, past) is not None

    await ledgers.keep_ledgers([job.id, new_id()], at=now())
    again = await moved(store, job, interventions.retry(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S))

    assert end_of(store, ledgers, job.id, past) is None
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(0, 0)
    reopened = await opened(ledgers, opening(job.id, 2, run=again.run))
    assert (reopened.edition, len(reopened.entries)) == (2, 1)


async def test_the_open_of_a_retried_job_unsets_an_end_that_came_meanwhile(
    store: JobStore, ledgers: Ledgers, past: Any
) -> None:
    """The collector read the job before its retry, and set the end behind it."""
    job = await failed(store)
    await opened_long_ago(ledgers, job.id)
    await ledgers.collect_ledgers(limit=10, at=now())
    # As an earlier version retries, which knows nothing of ledgers.
    again = await moved(store, job, interventions.retry(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S))
    (found,) = await ledgers.open_ledgers([opening(job.id, 2, run=again.run)], at=now() - DUE)
    assert found == await ledger_of(ledgers, job.id)
    # The look a day later also unsets the ends of its parts.
    assert await ledgers.collect_ledgers(limit=10, at=now()) == Collected(1, 0)
    assert end_of(store, ledgers, job.id, past) is None


async def test_a_look_that_is_outdated_sets_no_end(mongo_store: MongoStore, database: Database[dict[str, Any]]) -> None:
    """The job is retried and opened between the collector's read of it and the write of the end."""
    ledgers = mongo_store.ledgers()
    job = await failed(mongo_store)
    await opened_long_ago(ledgers, job.id)
    keep = ledgers.keep_ledgers

    class Between:
        """The collection of jobs, behind whose read the retry comes."""

        def __init__(self, jobs: Any) -> None:
            self._jobs = jobs

        def find(self, *args: Any, **options: Any) -> Any:
            return _After(self._jobs.find(*args, **options), keep, job.id)

    ledgers._jobs = Between(ledgers._jobs)  # type: ignore[assignment]
    await ledgers.collect_ledgers(limit=10, at=now())
    (ledger,) = database[schema.LEDGERS].find({"_id": job.id})
    assert DELETE_AT not in ledger and "look_at" in ledger


class _After:
    """A cursor behind whose last document a retry keeps the ledger."""

    def __init__(self, cursor: Any, keep: Any, job_id: UUID) -> None:
        self._cursor, self._keep, self._id = cursor, keep, job_id

    async def to_list(self, length: Any) -> Any:
        found = await self._cursor.to_list(length)
        await self._keep([self._id], at=now())
        return found
