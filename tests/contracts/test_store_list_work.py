"""What a page of a list costs over many jobs: no filter and no pair of filters walks further than its bound."""

import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model.attempts import UNGROUPED
from acked_common.model.lifecycle import State
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import JobFilter
from support.factories import now
from support.profile import Profile
from support.seeding import Seed, error_of, seed

ENDED, FAILED, GROUPS = 24_000, 6_000, 6
PAGE = 50
MOST_KEYS = 10_000
APART = timedelta(seconds=1)


def _fields(n: int) -> Document:
    fields: Document = {"kind": f"k{n % 3}"}
    if n % 2:
        fields["batch"] = f"b{n % 4}"
    if n % 5 == 0:
        fields["tags"] = ["t", f"t{n % 7}"]
    return fields


def _failed_fields(n: int) -> Document:
    return {**_fields(n), "error": error_of(f"1{n % GROUPS}" if n % 7 else None, n)}


@pytest.fixture
async def end(mongo_store: MongoStore, database: Database[dict[str, Any]]) -> AsyncIterator[datetime]:
    """The instant until which many jobs have ended."""
    end = now()
    inserted = seed(
        database,
        Seed(ENDED, State.SUCCEEDED, end, APART, _fields),
        Seed(FAILED, State.FAILED, end, APART * (ENDED // FAILED), _failed_fields, first_number=ENDED),
    )
    assert inserted == ENDED + FAILED
    yield end


def _filters(end: datetime) -> list[JobFilter]:
    middle = end - APART * (ENDED // 2)
    return [
        JobFilter(state, kind, batch, tag, error_group=group, since_at=since_at, until_at=until_at)
        for state, kind, batch, tag, group, (since_at, until_at) in itertools.product(
            (None, State.FAILED, State.CANCELLED),
            (None, "k1", "absent"),
            (None, "b1"),
            (None, "t3"),
            (None, "13", UNGROUPED, "1absent"),
            ((None, None), (middle, None), (None, middle), (middle, end)),
        )
    ]


@pytest.mark.alone
async def test_every_combination_of_filters_examines_a_bounded_number_of_keys(
    mongo_store: MongoStore, database: Database[dict[str, Any]], end: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By its bound, and not by how quick this machine is.
    monkeypatch.setattr("acked_common.store.list_limits.LIST_WITHIN_S", 60.0)
    profile = Profile(database, schema.JOBS)
    worst: dict[str, int] = {"keys": 0, "documents": 0}
    for wanted in _filters(end):
        profile.start()
        page = await mongo_store.list_jobs(wanted, page_size=PAGE)
        operations = profile.stop()
        assert len(page.jobs) <= PAGE
        # Cancelled jobs have no group: nothing is asked of the server.
        assert operations or (wanted.state is State.CANCELLED and wanted.error_group), wanted
        for operation in operations:
            assert operation["planSummary"].startswith("IXSCAN"), (wanted, operation["planSummary"])
            assert not operation.get("hasSortStage"), wanted
        keys = sum(operation.get("keysExamined", 0) for operation in operations)
        documents = sum(operation.get("docsExamined", 0) for operation in operations)
        assert keys <= MOST_KEYS, (wanted, keys)
        assert documents <= MOST_KEYS, (wanted, documents)
        worst = {"keys": max(worst["keys"], keys), "documents": max(worst["documents"], documents)}
    # The bound is met where a filter finds too little, and not by chance.
    assert worst["keys"] > MOST_KEYS * 0.9


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        ({"error_group": "13"}, "IXSCAN { tenant: 1, state: 1, error.group: 1, _id: -1 }"),
        ({}, "IXSCAN { tenant: 1, _id: -1 }"),
        ({"kind": "k1"}, "IXSCAN { tenant: 1, kind: 1, _id: -1 }"),
        ({"state": State.FAILED}, "IXSCAN { tenant: 1, state: 1, _id: -1 }"),
    ],
)
async def test_one_filter_between_two_instants_looks_at_what_it_shows(
    mongo_store: MongoStore, database: Database[dict[str, Any]], end: datetime, fields: dict[str, Any], plan: str
) -> None:
    middle = end - APART * (ENDED // 2)
    wanted = JobFilter(**fields, since_at=middle, until_at=end - APART * 100)
    profile = Profile(database, schema.JOBS)
    profile.start()
    page = await mongo_store.list_jobs(wanted, page_size=PAGE)
    (operation,) = profile.stop()
    assert len(page.jobs) == PAGE
    assert operation["planSummary"] == plan
    assert (operation["docsExamined"], operation["keysExamined"]) == (PAGE + 1, PAGE + 1)
    assert not operation.get("hasSortStage")
