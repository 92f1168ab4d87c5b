"""Which commands wait for a majority, as MongoDB is sent them: a promise holds only for what its journals keep."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from pymongo.monitoring import CommandStartedEvent

from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.model.minute_buckets import MINUTE_S, Bucket
from acked_common.model.tokens import mint
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import JobFilter, ProgressReport, Reservation, WorkerRecord
from support.factories import (
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    insert,
    kind_record,
    new_job,
    now,
    owner,
    queued,
    running,
    topic,
)
from support.listened_store import StartedListener, listened_store

MAJORITY = {"w": "majority", "j": True}
QUICK = {"w": 1}
WRITES = {"insert", "update", "delete", "findAndModify"}
READS = {"find", "aggregate", "count", "distinct"}


class Sent(StartedListener):
    """Notes the commands of a store."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in WRITES | READS:
            self.commands.append((event.command_name, dict(event.command)))

    def writes(self) -> list[tuple[str, Any]]:
        """The writes: their collections and concerns."""
        return [(sent[name], sent.get("writeConcern")) for name, sent in self.commands if name in WRITES]

    def reads(self) -> list[dict[str, Any]]:
        """The commands that read."""
        return [sent for name, sent in self.commands if name in READS]


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
async def store(
    mongo_url: str, mongo_database: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MongoStore]:
    async with listened_store(mongo_url, mongo_database, sent, monkeypatch) as opened:
        yield opened


async def _claim(store: MongoStore, count: int) -> None:
    jobs = await insert(store, *(new_job() for _ in range(count)))
    await store.claim([job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())


async def _end(store: MongoStore) -> None:
    job = await running(store)
    await store.apply([Move(job.seen, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))])


async def _end_several(store: MongoStore) -> None:
    at = now()
    end = lifecycle.succeed(at=at, result=b"1", retention_s=RETENTION_S)
    await store.apply([Move((await running(store)).seen, end) for _ in range(3)])


async def _reserve(store: MongoStore) -> None:
    job = await queued(store)
    assert job.next_check_at is not None
    await store.reserve([Reservation(job.id, job.next_check_at, now())], nonce="n")
    await store.give_back([job.id], nonce="n", next_check_at=now())


async def _tokens(store: MongoStore) -> None:
    _, record = mint(tenant="acme", client="billing", may=["read"], at=now())
    tokens = store.tokens()
    await tokens.add(record)
    await tokens.revoke(record.id, now())
    await tokens.revoke_all("acme", "billing", now())


async def _renew(store: MongoStore) -> None:
    job = await running(store)
    await store.renew([job.id], boot="boot-1", lease_s=LEASE_S)


async def _progress(store: MongoStore) -> None:
    job = await running(store)
    assert job.owner is not None
    await store.report_progress([ProgressReport(job.id, 1, job.owner.nonce, b"1")])


async def _worker(store: MongoStore) -> None:
    await store.refresh_worker(WorkerRecord("b", "w", ("a",), 1, 0, 0, "1", now(), now()))
    await store.forget_worker("b")


BUCKETS = [Bucket("acme", kind, MINUTE_S, now(), {"accepted": 1}) for kind in ("a", "b", None)]

DURABLE: dict[str, Callable[[MongoStore], Awaitable[Any]]] = {
    "insert": lambda store: store.insert([new_job(), new_job()]),
    "claim of one": lambda store: _claim(store, 1),
    "claim of several": lambda store: _claim(store, 3),
    "apply": _end,
    "apply to several": _end_several,
    "reserve": _reserve,
    "kinds": lambda store: store.register_kinds([kind_record("a", "a")]),
    "tokens": _tokens,
    "request_drain": lambda store: store.request_drain("b"),
    "add_minutes": lambda store: store.add_minutes("b", 1, BUCKETS),
}
"""What is told to somebody, or decides who owns a job."""
QUICK_WRITES: dict[str, tuple[Callable[[MongoStore], Awaitable[Any]], str]] = {
    "renew": (_renew, "jobs"),
    "report_progress": (_progress, "jobs"),
    "refresh_worker": (_worker, "workers"),
    "raise_watermark": (lambda store: store.raise_watermark("a", now()), "lanes"),
    "take_turn": (lambda store: store.take_turn("t", for_s=1.0), "turns"),
}
"""What is written again soon, and what its loss costs little."""


@pytest.mark.parametrize("verb", DURABLE)
async def test_write_waits_for_the_journals_of_a_majority(store: MongoStore, sent: Sent, verb: str) -> None:
    sent.commands.clear()
    await DURABLE[verb](store)
    writes = sent.writes()
    assert writes
    assert [concern for _, concern in writes] == [MAJORITY] * len(writes)


@pytest.mark.parametrize("verb", QUICK_WRITES)
async def test_write_that_is_repeated_anyway_waits_for_one(store: MongoStore, sent: Sent, verb: str) -> None:
    write, collection = QUICK_WRITES[verb]
    sent.commands.clear()
    await write(store)
    writes = sent.writes()
    quick = [name for name, concern in writes if concern == QUICK]
    assert quick and set(quick) == {collection}
    # The rest made the job that the verb is about.
    assert {name for name, concern in writes if concern != QUICK} <= {"jobs"}
    assert all(concern in (QUICK, MAJORITY) for _, concern in writes)


def _ids() -> list[UUID]:
    return [new_job().id]


READING: dict[str, tuple[Callable[[MongoStore], Awaitable[Any]], str]] = {
    "get": (lambda store: store.get(_ids()[0]), "majority"),
    "get_many": (lambda store: store.get_many(_ids()), "majority"),
    "histories": (lambda store: store.histories(_ids()), "majority"),
    "key_holder": (lambda store: store.key_holder("default", "k"), "majority"),
    "revisions": (lambda store: store.revisions(_ids()), "majority"),
    "live_jobs": (lambda store: store.live_jobs(State.QUEUED, limit=1), "majority"),
    "list_jobs": (lambda store: store.list_jobs(JobFilter(), page_size=1), "snapshot"),
    "renew": (lambda store: store.renew(_ids(), boot="b", lease_s=LEASE_S), "majority"),
    "claim": (
        lambda store: store.claim([*_ids(), *_ids()], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now()),
        "majority",
    ),
    "apply": (
        lambda store: store.apply(
            [
                Move(
                    lifecycle.Seen(_ids()[0], State.RUNNING, 2, 1, "n"),
                    lifecycle.release(at=now(), grace_s=GRACE_S, expires_in_s=60.0),
                )
            ]
        ),
        "majority",
    ),
    "kinds": (lambda store: store.kinds(), "majority"),
    "minutes": (lambda store: store.minutes("acme", None, step_s=MINUTE_S, since_at=now()), "majority"),
    "queued_by_kind": (lambda store: store.queued_by_kind(at_most=1), "majority"),
    "tokens": (lambda store: store.tokens().active(now()), "majority"),
    "look": (lambda store: store.look(topic(), limit=1), "snapshot"),
    "count_batch": (lambda store: store.count_batch("b"), "snapshot"),
    "batch_ends": (lambda store: store.batch_ends("b"), "snapshot"),
    "list_batches": (lambda store: store.list_batches("default", page_size=1), "snapshot"),
}


@pytest.mark.parametrize("verb", READING)
async def test_read_sees_only_what_a_majority_has(store: MongoStore, sent: Sent, verb: str) -> None:
    read, level = READING[verb]
    sent.commands.clear()
    await read(store)
    reads = sent.reads()
    assert reads
    assert {found["readConcern"]["level"] for found in reads} == {level}
    # A member that lags would show a job as missing.
    assert {found.get("$readPreference", {}).get("mode", "primary") for found in reads} <= {
        "primary",
        "primaryPreferred",
    }


FIELDS_OF_A_CLAIM = {
    *(
        "kind",
        "payload",
        "rev",
        "run",
        "attempt",
        "failures",
        "crashes",
        "started_at",
        "cancel_requested_at",
        "suspect",
    ),
    *("batch", "tags", "timeout_s", "max_attempts", "expires_in_s"),
}
"""What a claim reads back; the same as before jobs were counted by tenant."""


@pytest.mark.parametrize("count", [1, 3])
async def test_claim_reads_no_more_than_a_worker_needs(store: MongoStore, sent: Sent, count: int) -> None:
    jobs = await insert(store, *(new_job() for _ in range(count)))
    sent.commands.clear()
    await store.claim([job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
    assert [name for name, _ in sent.commands] == (["findAndModify"] if count == 1 else ["update", "find"])
    _, last = sent.commands[-1]
    assert set(last["fields" if count == 1 else "projection"]) - {"_id"} == FIELDS_OF_A_CLAIM


async def test_minute_buckets_are_written_with_one_command(store: MongoStore, sent: Sent) -> None:
    sent.commands.clear()
    await store.add_minutes("b", 1, BUCKETS)
    await store.add_minutes("b", 1, BUCKETS)
    assert [name for name, _ in sent.commands] == ["update", "update"]
