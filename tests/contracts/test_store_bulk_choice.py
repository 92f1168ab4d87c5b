"""Which jobs a bulk action concerns: on both stores."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from acked_common.model.attempts import UNGROUPED
from acked_common.model.bulk_actions import JobChoice
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import LIVE, State
from acked_common.store.bulk_actions import ChoiceStore, ChosenCount
from acked_common.store.mongo import bulk_choice
from acked_common.store.records import Job
from support.bulk import chosen, failed_in_group
from support.factories import MAKERS, ago, failed, now, queued, running, scheduled
from support.whole_store import JobStore

LAST = UUID(int=2**128 - 1)
TENANT = "acme"


@pytest.fixture
def choices(store: JobStore) -> ChoiceStore:
    return store.choices()


async def all_of(
    choices: ChoiceStore, choice: JobChoice, *, up_to: UUID = LAST, limit: int = 3, looks: int = 99
) -> list[UUID]:
    found: list[UUID] = []
    after: UUID | None = None
    for _ in range(looks):
        page = await choices.jobs_in(choice, up_to=up_to, after=after, limit=limit)
        assert len(page.jobs) <= limit
        found += [job.id for job in page.jobs]
        if (after := page.next_after) is None:
            return found
    raise AssertionError("it has no end")


async def populated(store: JobStore) -> dict[str, list[Job]]:
    """Jobs of every sort, a few of each, mixed by id; of another tenant too."""
    found: dict[str, list[Job]] = {}
    for _ in range(4):
        for tenant in (TENANT, "globex"):
            for state in (State.QUEUED, State.RUNNING, State.SCHEDULED, State.SUCCEEDED, State.CANCELLED):
                for name, fields in (("plain", {}), ("sorted", {"kind": "k", "batch": "b", "tags": ("t", "u")})):
                    job = await MAKERS[state](store, tenant=tenant, **fields)
                    found.setdefault(f"{tenant} {state} {name}", []).append(job)
            found.setdefault(f"{tenant} failed plain none", []).append(await failed(store, tenant=tenant))
            for group in ("1aa", "1bb"):
                for name, fields in (("plain", {}), ("sorted", {"kind": "k", "batch": "b", "tags": ("t",)})):
                    job = await failed_in_group(store, group, at=now(), tenant=tenant, **fields)
                    found.setdefault(f"{tenant} failed {name} {group}", []).append(job)
    return found


CHOICES: dict[str, tuple[JobChoice, tuple[str, ...]]] = {
    "a group": (chosen(tenant=TENANT, error_group="1aa"), ("failed plain 1aa", "failed sorted 1aa")),
    "a group of a kind": (chosen(tenant=TENANT, error_group="1bb", kind="k"), ("failed sorted 1bb",)),
    "failed ones without a group": (chosen(tenant=TENANT, error_group=UNGROUPED), ("failed plain none",)),
    "failed ones": (
        chosen(tenant=TENANT),
        ("failed plain none", "failed plain 1aa", "failed sorted 1aa", "failed plain 1bb", "failed sorted 1bb"),
    ),
    "failed ones of a kind": (chosen(tenant=TENANT, kind="k"), ("failed sorted 1aa", "failed sorted 1bb")),
    "failed ones of a batch": (chosen(tenant=TENANT, batch="b"), ("failed sorted 1aa", "failed sorted 1bb")),
    "live ones of a batch": (
        chosen(*LIVE, tenant=TENANT, batch="b"),
        ("queued sorted", "running sorted", "scheduled sorted"),
    ),
    "a batch of another kind": (chosen(*LIVE, tenant=TENANT, batch="b", kind="another"), ()),
    "queued ones with a tag": (chosen(State.QUEUED, tenant=TENANT, tag="t"), ("queued sorted",)),
    "failed ones with another tag": (chosen(tenant=TENANT, tag="u"), ()),
    "live ones of a kind": (
        chosen(*LIVE, tenant=TENANT, kind="k"),
        ("queued sorted", "running sorted", "scheduled sorted"),
    ),
    "scheduled ones": (chosen(State.SCHEDULED, tenant=TENANT), ("scheduled plain", "scheduled sorted")),
    "of nobody": (chosen(tenant="nobody"), ()),
}


async def test_a_choice_finds_its_jobs_by_rising_id(
    store: JobStore, choices: ChoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Spans that end among the jobs that fit, and among those that don't.
    monkeypatch.setattr(bulk_choice, "SPAN", 7)
    monkeypatch.setattr(bulk_choice, "COUNT_STEP", 5)
    jobs = await populated(store)
    for name, (choice, sorts) in CHOICES.items():
        wanted = sorted(job.id for sort in sorts for job in jobs[f"{TENANT} {sort}"])
        assert await all_of(choices, choice) == wanted, name
        counted = await choices.count(choice, up_to=LAST, at_most=100, within_s=9.0)
        assert counted == ChosenCount(len(wanted), is_exact=True), name
        if wanted:
            up_to = wanted[len(wanted) // 2]
            assert await all_of(choices, choice, up_to=up_to) == wanted[: len(wanted) // 2 + 1], name
            some = await choices.count(choice, up_to=LAST, at_most=len(wanted) - 1, within_s=9.0)
            assert some == ChosenCount(len(wanted) - 1, is_exact=False), name


async def test_instants_bound_when_jobs_were_accepted(store: JobStore, choices: ChoiceStore) -> None:
    jobs = [await queued(store) for _ in range(3)]
    hour = timedelta(hours=1)
    for since_at, until_at, fits in (
        (now() - hour, None, True),
        (now() + hour, None, False),
        (None, now() + hour, True),
        (None, now() - hour, False),
        (now() - hour, now() + hour, True),
    ):
        choice = chosen(State.QUEUED, since_at=since_at, until_at=until_at)
        assert await all_of(choices, choice) == ([job.id for job in jobs] if fits else [])


async def test_chosen_jobs_come_without_bodies_and_with_their_history(store: JobStore, choices: ChoiceStore) -> None:
    job = await running(store, payload=b'{"a":1}', claimed_at=ago(9))
    page = await choices.jobs_in(chosen(State.RUNNING), up_to=LAST, after=None, limit=1)
    (found,) = page.jobs
    assert (found.payload, found.seen, found.history) == (b"", job.seen, job.history)
    assert await choices.jobs_of("default", [job.id]) == {job.id: found}


async def test_jobs_of_are_the_tenants_own(store: JobStore, choices: ChoiceStore) -> None:
    mine, theirs = await scheduled(store, tenant=TENANT), await scheduled(store, tenant="globex")
    assert set(await choices.jobs_of(TENANT, [mine.id, theirs.id, new_id()])) == {mine.id}
    assert await choices.jobs_of(TENANT, []) == {}


async def test_the_newest_id_is_the_tenants_own(store: JobStore, choices: ChoiceStore) -> None:
    assert await choices.newest_id(TENANT) is None
    jobs: list[Any] = [await queued(store, tenant=TENANT) for _ in range(2)]
    await queued(store, tenant="globex")
    assert await choices.newest_id(TENANT) == jobs[1].id
