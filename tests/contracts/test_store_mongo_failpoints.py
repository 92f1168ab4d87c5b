"""What an insert answers while MongoDB itself fails: it cuts connections off, holds them, or confirms no majority."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from acked_common.store.errors import OutcomeUnknown
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import ClaimedJob, Insertion
from support.factories import LEASE_S, claimed_job, count_queued, insert, key_of, new_job, now, owner
from support.failing_mongod import FailingMongod
from support.stores import store_behind
from support.tcp_proxy import Proxy, proxy_to

TIMEOUT_S = 1.0
SLACK_S = 1.0
"""The driver looks for a server half a second longer than it was told to."""
APP = "under-test"
STORED, NOT_STORED, UNKNOWN, TAKEN = Insertion.STORED, Insertion.NOT_STORED, Insertion.UNKNOWN, Insertion.KEY_TAKEN

CUT_OFF = {"closeConnection": True}
# Refusals of a server that is no primary any more, or ends; the driver sends again.
NO_PRIMARY = {"errorCode": 10107, "errorLabels": ["RetryableWriteError"]}
STEPS_DOWN = {"errorCode": 11602, "errorLabels": ["RetryableWriteError"]}
# The write was done, and no majority confirmed it; the driver sends again after 91 only.
TIMED_OUT = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
SHUTS_DOWN = {
    "writeConcernError": {"code": 91, "errmsg": "replication is being shut down"},
    "errorLabels": ["RetryableWriteError"],
}
UNLABELLED = {"writeConcernError": {"code": 91, "errmsg": "replication is being shut down"}}
FAILURES = {
    "cut off": CUT_OFF,
    "no primary": NO_PRIMARY,
    "steps down": STEPS_DOWN,
    "timed out": TIMED_OUT,
    "shuts down": SHUTS_DOWN,
    "shuts down, unlabelled": UNLABELLED,
}
UNCONFIRMED = {name: FAILURES[name] for name in ("timed out", "shuts down", "shuts down, unlabelled")}


@pytest.fixture
async def proxy(mongod: FailingMongod) -> AsyncIterator[Proxy]:
    async with proxy_to(*mongod.address) as proxy:
        yield proxy


@pytest.fixture
def database(mongod: FailingMongod) -> Iterator[str]:
    """The name of a database for one test."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    mongod.client.drop_database(name)


@pytest.fixture
async def store(proxy: Proxy, database: str) -> AsyncIterator[MongoStore]:
    """A store as intake has it."""
    async with store_behind(proxy, database, app_name=APP, timeout_s=TIMEOUT_S) as store:
        yield store


@pytest.fixture
async def patient_store(proxy: Proxy, database: str) -> AsyncIterator[MongoStore]:
    """A store with time for several lost connections: the driver needs half a second to get over each."""
    async with store_behind(proxy, database, app_name=APP, timeout_s=6.0) as store:
        yield store


def each(cases: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("how", cases.values(), ids=cases.keys())


@each(FAILURES)
@pytest.mark.parametrize("times", [1, 2])
async def test_what_fails_once_or_twice_is_stored_once(
    mongod: FailingMongod, patient_store: MongoStore, how: dict[str, Any], times: int
) -> None:
    jobs = [new_job(key=key_of(f"k{n}") if n % 2 else None) for n in range(6)]

    with mongod.failing(["insert"], app_name=APP, times=times, **how):
        assert await patient_store.insert(jobs) == [STORED] * 6

    assert await count_queued(patient_store, 10) == 6


@each(FAILURES)
@pytest.mark.parametrize("count", [1, 3])
async def test_a_claim_that_fails_takes_all_or_is_unknown_and_takes_all_when_it_is_repeated(
    mongod: FailingMongod, patient_store: MongoStore, how: dict[str, Any], count: int
) -> None:
    ids, by, at = [job.id for job in await insert(patient_store, *(new_job() for _ in range(count)))], owner(), now()

    async def claim() -> list[ClaimedJob]:
        return await patient_store.claim(ids, kinds=["demo"], owner=by, lease_s=LEASE_S, at=at)

    with mongod.failing(["update", "findAndModify"], app_name=APP, times=1, **how):
        try:
            taken = await claim()
        except OutcomeUnknown:
            taken = await claim()

    assert {job.id for job in taken} == set(ids)
    kept = (await patient_store.get_many(ids)).values()
    assert {(job.owner, job.attempt, job.rev) for job in kept} == {(by, 1, 2)}
    assert {job.id: job for job in taken} == {job.id: claimed_job(job) for job in kept}


@each({"cut off": CUT_OFF, "no primary": NO_PRIMARY})
async def test_what_is_never_taken_is_unknown_and_never_a_refusal(
    mongod: FailingMongod, store: MongoStore, how: dict[str, Any]
) -> None:
    jobs = [new_job() for _ in range(3)]
    started = time.monotonic()

    with mongod.failing(["insert"], app_name=APP, **how):
        assert await store.insert(jobs) == [UNKNOWN] * 3

    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
    assert await store.insert(jobs) == [STORED] * 3
    assert await count_queued(store, 10) == 3


@each(UNCONFIRMED)
async def test_what_no_write_confirms_is_stored_where_a_majority_shows_it(
    mongod: FailingMongod, store: MongoStore, how: dict[str, Any]
) -> None:
    jobs = [new_job() for _ in range(3)]
    started = time.monotonic()

    with mongod.failing(["insert"], app_name=APP, **how):
        assert await store.insert(jobs) == [STORED] * 3

    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
    assert await count_queued(store, 10) == 3


@each(UNCONFIRMED)
async def test_what_is_neither_confirmed_nor_shown_is_unknown(
    mongod: FailingMongod, store: MongoStore, proxy: Proxy, how: dict[str, Any]
) -> None:
    jobs = [new_job(), new_job(key=key_of("k"))]
    proxy.lose("find", times=1000)

    with mongod.failing(["insert"], app_name=APP, **how):
        assert await store.insert(jobs) == [UNKNOWN] * 2

    assert proxy.lost > 0
    proxy.lose("find", times=0)
    assert await store.insert(jobs) == [STORED] * 2


@each(UNCONFIRMED)
async def test_a_taken_key_that_is_not_confirmed_is_unknown(
    mongod: FailingMongod, store: MongoStore, how: dict[str, Any]
) -> None:
    await insert(store, new_job(key=key_of("k")))
    late = new_job(key=key_of("k"))

    with mongod.failing(["insert"], app_name=APP, **how):
        assert await store.insert([late]) == [UNKNOWN]

    assert await store.insert([late]) == [TAKEN]
    assert await count_queued(store, 10) == 1


@each(UNCONFIRMED)
async def test_a_taken_key_that_is_confirmed_later_is_taken(
    mongod: FailingMongod, store: MongoStore, how: dict[str, Any]
) -> None:
    await insert(store, new_job(key=key_of("k")))
    late, neighbour = new_job(key=key_of("k")), new_job()

    with mongod.failing(["insert"], app_name=APP, times=1, **how):
        assert await store.insert([late, neighbour]) == [TAKEN, STORED]


@each(UNCONFIRMED)
async def test_what_the_validator_refuses_is_not_stored_whatever_is_confirmed(
    mongod: FailingMongod, store: MongoStore, how: dict[str, Any]
) -> None:
    good = new_job()
    nonsense = replace(new_job(), lifecycle={"state": good.lifecycle["state"]})

    with mongod.failing(["insert"], app_name=APP, times=1, **how):
        found = await store.insert([nonsense, good])

    assert found[1] is STORED
    assert found[0] is NOT_STORED


async def test_refusal_after_an_unknown_sending_stays_unknown(mongod: FailingMongod, store: MongoStore) -> None:
    good = new_job()
    nonsense = replace(new_job(), lifecycle={"state": good.lifecycle["state"]})

    with mongod.failing(["insert"], app_name=APP, times=1, **CUT_OFF):
        found = await store.insert([nonsense, good])

    # What the first sending has done nobody knows, whatever the second one is told.
    assert found == [UNKNOWN, STORED]


async def test_server_that_goes_after_an_unknown_sending_leaves_it_unknown(store: MongoStore, proxy: Proxy) -> None:
    jobs = [new_job() for _ in range(3)]
    proxy.lose("insert", times=1)

    async def refuse_behind_the_first() -> None:
        while not proxy.lost:  # noqa: ASYNC110 - within one turn of the loop
            await asyncio.sleep(0)
        proxy.refuse()

    refusing = asyncio.create_task(refuse_behind_the_first())
    found = await store.insert(jobs)

    await refusing
    assert found == [UNKNOWN] * 3
    proxy.heal()
    # "Nothing stored" would have been a lie.
    assert await count_queued(store, 10) == 3


async def test_a_server_that_holds_an_insert_is_unknown_in_time_and_blocks_nobody(
    mongod: FailingMongod, store: MongoStore
) -> None:
    jobs = [new_job() for _ in range(3)]
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count_turns())
    started = time.monotonic()
    with mongod.failing(["insert"], app_name=APP, blockConnection=True, blockTimeMS=5000):
        assert await store.insert(jobs) == [UNKNOWN] * 3
        # Behind this line the fail point is waited for.
        took_s = time.monotonic() - started
        counting.cancel()

    assert took_s < TIMEOUT_S + SLACK_S
    assert turns > took_s / 0.01 / 4
    assert await store.insert(jobs) == [STORED] * 3
    assert await count_queued(store, 10) == 3


async def test_an_insert_that_is_held_for_a_moment_is_stored(mongod: FailingMongod, store: MongoStore) -> None:
    with mongod.failing(["insert"], app_name=APP, blockConnection=True, blockTimeMS=300):
        assert await store.insert([new_job() for _ in range(3)]) == [STORED] * 3


async def test_concurrent_inserts_through_failures_store_each_once_and_give_a_key_once(
    mongod: FailingMongod, store: MongoStore
) -> None:
    groups = [[new_job(), new_job(key=key_of("k")), new_job()] for _ in range(20)]

    with mongod.failing(["insert"], app_name=APP, times=10, **CUT_OFF):
        first = await asyncio.gather(*(store.insert(group) for group in groups))
    again = await asyncio.gather(*(store.insert(group) for group in groups))

    assert {found for answer in first for found in answer} <= {STORED, TAKEN, UNKNOWN}
    assert {tuple(answer[::2]) for answer in again} == {(STORED, STORED)}
    assert sorted(answer[1].value for answer in again) == sorted([STORED.value] + [TAKEN.value] * 19)
    for before, after in zip(first, again, strict=True):
        assert [b in (a, UNKNOWN) for b, a in zip(before, after, strict=True)] == [True] * 3
    assert await count_queued(store, 100) == 41
