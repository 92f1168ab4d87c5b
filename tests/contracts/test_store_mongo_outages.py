"""What the store on MongoDB answers while its server is away, silent, or loses answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import pytest
from pymongo.uri_parser import parse_uri

from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, Insertion, JobFilter, ProgressReport, Reservation
from support.factories import (
    LEASE_S,
    RETENTION_S,
    again,
    claimed_job,
    count_queued,
    eventually,
    new_job,
    now,
    owner,
    queued,
    running,
)
from support.servers import Servers
from support.stores import store_behind
from support.tcp_proxy import Proxy, proxy_to

APP = "contracts"
TIMEOUT_S = 1.0
PATIENT_S = 4.0
SLACK_S = 1.0
"""The driver looks for a server half a second longer than it was told to."""
Verb = Callable[[MongoStore], Any]

NO_ANSWER = (StoreUnavailable, OutcomeUnknown)
NEW_ID = new_job().id
VERBS: dict[str, Verb] = {
    "key_holder": lambda store: store.key_holder("default", "k"),
    "get": lambda store: store.get(NEW_ID),
    "get_many": lambda store: store.get_many([NEW_ID]),
    "claim": lambda store: store.claim([NEW_ID], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now()),
    "apply": lambda store: store.apply(
        [
            Move(
                lifecycle.Seen(NEW_ID, State.RUNNING, 2, 1, "n"),
                lifecycle.succeed(at=now(), result=b"1", retention_s=1.0),
            )
        ]
    ),
    "renew": lambda store: store.renew([NEW_ID], boot="b", lease_s=LEASE_S),
    "report_progress": lambda store: store.report_progress([ProgressReport(NEW_ID, 1, "n", b"1")]),
    "live_jobs": lambda store: store.live_jobs(State.QUEUED, limit=1),
    "take_turn": lambda store: store.take_turn("t", for_s=1.0),
    "reserve": lambda store: store.reserve([Reservation(NEW_ID, now(), now())], nonce="n"),
    "give_back": lambda store: store.give_back([NEW_ID], nonce="n", next_check_at=now()),
    "revisions": lambda store: store.revisions([NEW_ID]),
    "list_jobs": lambda store: store.list_jobs(JobFilter(), page_size=1),
    "count_batch": lambda store: store.count_batch("b"),
    "batch_ends": lambda store: store.batch_ends("b"),
    "list_batches": lambda store: store.list_batches("default", page_size=1),
    "count": lambda store: count_queued(store, 1),
    "kinds": lambda store: store.kinds(),
    "workers": lambda store: store.workers(seen_within_s=1.0),
    "forget_worker": lambda store: store.forget_worker("b"),
    "raise_watermark": lambda store: store.raise_watermark("l", now()),
    "watermarks": lambda store: store.watermarks(),
    "server_time": lambda store: store.server_time(),
    "database_id": lambda store: store.database_id(),
    "check_schema": lambda store: store.check_schema(),
    "ensure_schema": lambda store: store.ensure_schema(),
}


@pytest.fixture
async def proxy(mongo_url: str) -> AsyncIterator[Proxy]:
    host, port = parse_uri(mongo_url)["nodelist"][0]
    async with proxy_to(host, port) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: Proxy, mongo_database: str, mongo_url: str) -> AsyncIterator[MongoStore]:
    """One that gives up soon."""
    async with store_behind(proxy, mongo_database, app_name=APP, timeout_s=TIMEOUT_S, mongo_url=mongo_url) as store:
        yield store


@pytest.fixture
async def patient_store(proxy: Proxy, mongo_database: str, mongo_url: str) -> AsyncIterator[MongoStore]:
    """One with time for several lost connections: the driver needs half a second to get over each."""
    async with store_behind(proxy, mongo_database, app_name=APP, timeout_s=PATIENT_S, mongo_url=mongo_url) as store:
        yield store


@pytest.mark.parametrize("times", [1, 2])
async def test_an_insert_whose_answers_are_lost_stores_once(
    patient_store: MongoStore, proxy: Proxy, times: int
) -> None:
    jobs = [new_job() for _ in range(10)]
    proxy.lose("insert", times=times)

    assert await patient_store.insert(jobs) == [Insertion.STORED] * 10

    assert proxy.lost == times
    assert await count_queued(patient_store, 100) == 10


async def test_an_insert_whose_answers_are_all_lost_is_read_back(patient_store: MongoStore, proxy: Proxy) -> None:
    jobs = [new_job() for _ in range(10)]
    proxy.lose("insert", times=1000)
    started = time.monotonic()

    assert await patient_store.insert(jobs) == [Insertion.STORED] * 10

    assert time.monotonic() - started < PATIENT_S + SLACK_S
    assert await count_queued(patient_store, 100) == 10


async def test_an_insert_that_can_not_be_read_back_is_unknown_and_safe_to_repeat(
    store: MongoStore, proxy: Proxy
) -> None:
    jobs = [new_job() for _ in range(10)]
    proxy.lose("insert", "find", times=1000)
    started = time.monotonic()

    assert await store.insert(jobs) == [Insertion.UNKNOWN] * 10

    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
    proxy.lose(times=0)
    assert await count_queued(store, 100) == 10
    assert await store.insert(jobs) == [Insertion.STORED] * 10
    assert await count_queued(store, 100) == 10


async def test_a_move_whose_answers_are_lost_is_unknown_and_its_repeat_tells(store: MongoStore, proxy: Proxy) -> None:
    job = await running(store)
    end = Move(job.seen, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))
    proxy.lose("update", times=1000)
    with pytest.raises(OutcomeUnknown):
        await store.apply([end])
    proxy.lose("update", times=0)
    after = await again(store, job)
    assert after.state is State.SUCCEEDED

    assert await store.apply([end]) == [Applied.APPLIED]

    assert await again(store, job) == after


@pytest.mark.parametrize("command", ["findAndModify", "update"])
async def test_a_claim_whose_answers_are_lost_still_knows_what_it_took(
    store: MongoStore, proxy: Proxy, command: str
) -> None:
    # One job is claimed with one command, several with two.
    jobs, by = [await queued(store) for _ in range(1 if command == "findAndModify" else 2)], owner()
    proxy.lose(command, times=1000)

    taken = await store.claim([job.id for job in jobs], kinds=["demo"], owner=by, lease_s=LEASE_S, at=now())

    assert proxy.lost > 0
    assert {job.id for job in taken} == {job.id for job in jobs}
    kept = (await store.get_many([job.id for job in jobs])).values()
    assert {(job.owner, job.attempt, job.rev) for job in kept} == {(by, 1, 2)}
    assert {job.id: job for job in taken} == {job.id: claimed_job(job) for job in kept}


async def test_a_claim_that_fails_midway_is_safe_to_repeat(store: MongoStore, proxy: Proxy) -> None:
    ids, by, at = [(await queued(store)).id for _ in range(2)], owner(), now()
    proxy.lose("find", times=1000)
    with pytest.raises(OutcomeUnknown):
        await store.claim(ids, kinds=["demo"], owner=by, lease_s=LEASE_S, at=at)
    proxy.lose("find", times=0)

    taken = await store.claim(ids, kinds=["demo"], owner=by, lease_s=LEASE_S, at=at)

    kept = (await store.get_many(ids)).values()
    assert {(job.id, job.owner, job.attempt) for job in kept} == {(job_id, by, 1) for job_id in ids}
    assert {job.id: job for job in taken} == {job.id: claimed_job(job) for job in kept}


async def test_a_claim_of_one_job_that_is_repeated_finds_what_it_took(store: MongoStore) -> None:
    job, by, at = await queued(store), owner(), now()
    claims = [await store.claim([job.id], kinds=["demo"], owner=by, lease_s=LEASE_S, at=at) for _ in range(2)]
    assert [[(one.id, one.attempt) for one in claimed] for claimed in claims] == [[(job.id, 1)]] * 2
    assert await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=at) == []


async def test_a_reservation_whose_answers_are_lost_still_knows_what_it_got(store: MongoStore, proxy: Proxy) -> None:
    job, gone = await queued(store), new_job()
    assert job.next_check_at is not None
    proxy.lose("update", times=1000)

    got = await store.reserve([Reservation(one.id, job.next_check_at, now()) for one in (job, gone)], nonce="n")

    assert proxy.lost > 0
    assert got == {job.id}


async def test_while_the_server_is_silent_an_insert_is_unknown_in_time(store: MongoStore, proxy: Proxy) -> None:
    await queued(store)
    proxy.silence()
    started = time.monotonic()

    outcome = await store.insert([new_job(), new_job()])

    assert set(outcome) <= {Insertion.UNKNOWN, Insertion.NOT_STORED}
    assert time.monotonic() - started < TIMEOUT_S + SLACK_S


async def _answers(store: MongoStore) -> dict[str, object]:
    """What each verb answers or raises, all asked at once."""
    answers = await asyncio.gather(*(verb(store) for verb in VERBS.values()), return_exceptions=True)
    return dict(zip(VERBS, answers, strict=True))


async def test_while_the_server_is_silent_every_verb_raises_in_time(store: MongoStore, proxy: Proxy) -> None:
    await store.server_time()
    proxy.silence()
    started = time.monotonic()

    answers = await _answers(store)

    # A claim whose write stays unanswered looks once more what it took.
    assert time.monotonic() - started < 2 * TIMEOUT_S + SLACK_S
    assert {n: answer for n, answer in answers.items() if not isinstance(answer, NO_ANSWER)} == {}


async def test_without_a_server_an_insert_stores_nothing_in_time() -> None:
    store = MongoStore("mongodb://127.0.0.1:1", "nowhere", app_name="contracts", timeout_s=TIMEOUT_S)
    started = time.monotonic()

    assert await store.insert([new_job(), new_job()]) == [Insertion.NOT_STORED] * 2

    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
    with pytest.raises(StoreUnavailable):
        await store.get(NEW_ID)
    with pytest.raises(TimeoutError):
        await wait_for_store(store, within_s=0.3)
    await store.close()


async def wait_for_store(store: MongoStore, *, within_s: float) -> None:
    """Returns when a server answers."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await store.server_time()
                return
            except StoreError:
                await asyncio.sleep(0.05)


@pytest.fixture
async def direct_store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    """A store without the proxy."""
    store = MongoStore(mongo_url, mongo_database, app_name="contracts", timeout_s=TIMEOUT_S)
    await store.ensure_schema()
    yield store
    await store.close()


async def test_while_the_server_is_stopped_every_verb_says_so(servers: Servers, direct_store: MongoStore) -> None:
    private = servers.private
    kept, lost = await queued(direct_store), new_job()
    await asyncio.to_thread(private.pause, "mongod")
    try:
        for _ in range(3):
            started = time.monotonic()
            (outcome,) = await direct_store.insert([lost])
            assert outcome in (Insertion.NOT_STORED, Insertion.UNKNOWN)
            assert time.monotonic() - started < TIMEOUT_S + SLACK_S
        answers = await _answers(direct_store)
        assert {n: answer for n, answer in answers.items() if not isinstance(answer, NO_ANSWER)} == {}
    finally:
        await asyncio.to_thread(private.restart, "mongod")
    await wait_for_store(direct_store, within_s=30.0)
    assert await again(direct_store, kept) == kept
    assert await direct_store.get(lost.id) is None


async def test_what_was_stored_before_a_kill_is_there_after_it(servers: Servers, direct_store: MongoStore) -> None:
    private = servers.private
    answers: dict[UUID, Insertion] = {}
    slowest_s = 0.0
    is_over = asyncio.Event()

    async def keep_inserting() -> None:
        nonlocal slowest_s
        while not is_over.is_set():
            jobs = [new_job() for _ in range(20)]
            started = time.monotonic()
            outcome = await direct_store.insert(jobs)
            slowest_s = max(slowest_s, time.monotonic() - started)
            answers.update(zip((job.id for job in jobs), outcome, strict=True))

    async def has_stored_again() -> bool:
        return list(answers.values())[-1] is Insertion.STORED

    inserting = [asyncio.create_task(keep_inserting()) for _ in range(4)]
    await eventually(lambda: asyncio.sleep(0, len(answers) > 200))
    await asyncio.to_thread(private.kill, "mongod")
    await asyncio.to_thread(private.restart, "mongod")
    await eventually(has_stored_again, within_s=30.0)
    is_over.set()
    await asyncio.gather(*inserting)

    stored = [job_id for job_id, answer in answers.items() if answer is Insertion.STORED]
    refused = [job_id for job_id, answer in answers.items() if answer is Insertion.NOT_STORED]
    assert set(await direct_store.get_many(stored)) == set(stored)
    assert await direct_store.get_many(refused) == {}
    assert slowest_s < TIMEOUT_S + SLACK_S


async def test_close_beside_a_silent_server_leaves_the_loop_free(
    mongo_database: str, mongo_url: str, proxy: Proxy
) -> None:
    goodbye = asyncio.Event()

    def note(sent: bytes) -> bytes:
        if b"endSessions" in sent:
            goodbye.set()
        return sent

    proxy.rewriter = lambda: note
    async with store_behind(proxy, mongo_database, app_name=APP, timeout_s=PATIENT_S, mongo_url=mongo_url) as store:
        proxy.silence()

        closing = asyncio.create_task(store.close())
        # The proxy runs on this loop: it could not pass on what a closing that blocks had sent.
        async with asyncio.timeout(PATIENT_S / 2):
            await goodbye.wait()

        assert not closing.done()
        proxy.cut()
        await closing
