"""Lists by error group and by time, beside the other filters."""

import itertools
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model import interventions, lifecycle
from acked_common.model.attempts import UNGROUPED
from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.lifecycle import State
from acked_common.store.records import Job, JobFilter
from support.factories import ERROR, RETENTION_S, ago, failed, moved, now, owner, queued, running, succeeded
from support.whole_store import JobStore

GROUPS = ("1aa", "1bb", None)


def _id_at(at: datetime, number: int) -> UUID:
    return numbered_id(first_id_at(at).int + (7 << 76) + (2 << 62) + number)


async def _failed_in(store: JobStore, group: str | None, **fields: object) -> Job:
    job = await running(store, **fields)  # type: ignore[arg-type]
    error = ERROR if group is None else {**ERROR, "group": group}
    return await moved(store, job, lifecycle.fail(at=now(), error=error, retention_s=RETENTION_S, exhausted=True))


async def _jobs(store: JobStore, start: datetime) -> list[Job]:
    """Thirty jobs, one a minute, newest first."""
    jobs = []
    for n in range(30):
        fields = {
            "id": _id_at(start + timedelta(minutes=n), n),
            "kind": "ab"[n % 2],
            "batch": (None, "x")[n % 3 == 0],
            "tags": ((), ("t",))[n % 4 == 0],
        }
        if n % 5 == 0:
            jobs.append(await queued(store, **fields))
        else:
            jobs.append(await _failed_in(store, GROUPS[n % 3], **fields))
    return jobs[::-1]


def _fits(job: Job, wanted: JobFilter) -> bool:
    group = (job.error or {}).get("group", UNGROUPED) if job.state is State.FAILED else None
    since, until = wanted.since_at, wanted.until_at
    assert wanted.worker is None, "see the test of workers"
    return (
        wanted.error_group in (None, group)
        and wanted.state in (None, job.state)
        and wanted.kind in (None, job.kind)
        and wanted.batch in (None, job.options.batch)
        and (wanted.tag is None or wanted.tag in job.options.tags)
        and (since is None or job.id >= first_id_at(since))
        and (until is None or job.id < first_id_at(until))
    )


async def _listed(store: JobStore, wanted: JobFilter, page_size: int) -> list[Job]:
    listed: list[Job] = []
    before, pages = None, 0
    while True:
        page = await store.list_jobs(wanted, page_size=page_size, before=before)
        assert len(page.jobs) <= page_size
        listed += page.jobs
        before, pages = page.next_before, pages + 1
        if before is None:
            return listed
        assert pages < 100


async def test_lists_by_group_and_time_show_what_fits(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    start = ago(3600)
    jobs = await _jobs(store, start)
    since_at, until_at = start + timedelta(minutes=7), start + timedelta(minutes=21)
    filters = [
        JobFilter(state, kind, batch, tag, error_group=group, since_at=since, until_at=until)
        for state, group, since, until, (kind, batch, tag) in itertools.product(
            (None, State.FAILED),
            (None, "1aa", UNGROUPED, "1absent"),
            (None, since_at),
            (None, until_at),
            ((None, None, None), ("a", None, None), (None, "x", None), (None, None, "t"), ("a", "x", "t")),
        )
    ]
    monkeypatch.setattr("acked_common.store.list_limits.LIST_FIRST_SPAN", 2)
    for limit, page_size in ((4_900, 100), (5, 2)):
        monkeypatch.setattr("acked_common.store.list_limits.LIST_SCAN_LIMIT", limit)
        for wanted in filters:
            expected = [replace(job, payload=b"", result=None) for job in jobs if _fits(job, wanted)]
            assert await _listed(store, wanted, page_size) == expected, wanted


async def test_a_group_beside_another_state_shows_nothing(store: JobStore) -> None:
    await _failed_in(store, "1aa")
    await queued(store)

    page = await store.list_jobs(JobFilter(State.QUEUED, error_group="1aa"), page_size=10)

    assert (page.jobs, page.next_before) == ([], None)


async def test_jobs_that_were_attended_to_are_not_ungrouped(store: JobStore) -> None:
    resolved, edited, erased, left = [await failed(store) for _ in range(4)]
    at = now()
    await moved(
        store,
        resolved,
        interventions.resolve(at=at, to=State.FAILED, result=None, note=None, retention_s=RETENTION_S),
    )
    await moved(
        store,
        edited,
        interventions.edit(at=at, state=State.FAILED, edited_to=left.id, retention_s=RETENTION_S),
    )
    await moved(store, erased, interventions.erase(at=at, state=State.FAILED))
    await succeeded(store)

    page = await store.list_jobs(JobFilter(error_group=UNGROUPED), page_size=10)

    assert [job.id for job in page.jobs] == [left.id]
    assert page.next_before is None


async def test_a_job_that_left_its_group_is_listed_there_no_more(store: JobStore) -> None:
    stays, goes = [await _failed_in(store, "1aa") for _ in range(2)]
    await moved(
        store,
        goes,
        interventions.resolve(at=now(), to=State.FAILED, result=None, note=None, retention_s=RETENTION_S),
    )

    page = await store.list_jobs(JobFilter(error_group="1aa"), page_size=10)

    assert [job.id for job in page.jobs] == [stays.id]
    assert len((await store.list_jobs(JobFilter(state=State.FAILED), page_size=10)).jobs) == 2


async def test_a_worker_has_the_jobs_that_it_runs_now(store: JobStore) -> None:
    mine = [await running(store, by=owner("worker-1"), kind=kind) for kind in ("a", "b", "a")]
    await running(store, by=owner("worker-2"))
    await queued(store)
    await succeeded(store, by=owner("worker-1"))
    newest_first = sorted((job.id for job in mine), reverse=True)

    page = await store.list_jobs(JobFilter(worker="worker-1"), page_size=2)
    rest = await store.list_jobs(JobFilter(worker="worker-1"), page_size=2, before=page.next_before)
    of_kind = await store.list_jobs(JobFilter(worker="worker-1", kind="a"), page_size=9)

    assert [job.id for job in page.jobs] + [job.id for job in rest.jobs] == newest_first
    assert rest.next_before is None
    assert {job.id for job in of_kind.jobs} == {job.id for job in mine if job.kind == "a"}
    for wanted in (
        JobFilter(worker="worker-3"),
        JobFilter(worker="worker-1", tenant="acme"),
        JobFilter(worker="worker-1", state=State.FAILED),
    ):
        assert (await store.list_jobs(wanted, page_size=9)).jobs == []
