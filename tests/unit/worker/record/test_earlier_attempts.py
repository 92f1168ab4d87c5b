"""What the recorder reads of earlier attempts, and when it does."""

from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.model.lifecycle import Reason
from acked_common.model.payload_schemas import PayloadSchema
from acked_common.outcomes.outcome import Crashed, Ending, Failed, Interrupted, InterruptReason, Succeeded, failed
from acked_common.outcomes.payload import INVALID_PAYLOAD
from acked_common.store.records import KindRecord, WorkerRecord
from acked_worker.consume.in_flight import InFlight
from acked_worker.record.earlier_attempts import EarlierAttempts
from support.factories import LEASE_S, ManualClock, insert, kind_record, new_job, owner
from support.parts import ShakyStore

NOT_STARTED = Interrupted(InterruptReason.NOT_STARTED)
FAILED = failed("T", "m", retryable=True)
CRASHED = Crashed("exit code 1")


def _kind_of(name: str) -> KindRecord:
    return kind_record(name, name, max_attempts=3)


async def held_of(store: ShakyStore, clock: ManualClock, **fields: Any) -> InFlight:
    (job,) = await insert(store, new_job(at=clock.now()))
    claimed = await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=clock.now())
    return InFlight(replace(claimed[0], **fields), "demo", clock.monotonic())


@pytest.mark.parametrize(
    ("fields", "ending", "read"),
    [
        ({"attempt": 9}, Succeeded(b"1"), []),
        ({"attempt": 9}, Interrupted(InterruptReason.DRAINED), []),
        ({"attempt": 2}, NOT_STARTED, []),
        ({"attempt": 3}, NOT_STARTED, ["histories"]),
        ({"failures": 1}, FAILED, []),
        ({"failures": 2}, FAILED, ["read_progress"]),
        ({"failures": 2}, failed("T", "m", retryable=False), []),
        ({"crashes": 1}, CRASHED, []),
        ({"crashes": 2}, CRASHED, ["read_progress"]),
    ],
)
async def test_reads_are_only_of_endings_that_need_them(
    fields: dict[str, Any], ending: Ending, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    store = ShakyStore(clock)
    held = await held_of(store, clock, **fields)
    calls: list[str] = []
    read_progress = store.ledgers().read_progress

    async def noted(ids: Any) -> Any:
        calls.append("read_progress")
        return await read_progress(ids)

    monkeypatch.setattr(store.ledgers(), "read_progress", noted)
    store.calls.clear()
    earlier = EarlierAttempts(store, _kind_of)
    assert await earlier.judged([(held, ending)]) == [(held, ending)]
    assert [*calls, *store.calls] == read


async def test_endings_stay_in_their_order() -> None:
    clock = ManualClock()
    store = ShakyStore(clock)
    idle, known, done = [await held_of(store, clock, attempt=7) for _ in range(3)]
    known.progressed_at_failures, known.progressed_at_crashes = 4, 2
    store._jobs[idle.job.id]["history"] *= 3
    for entry in store._jobs[idle.job.id]["history"]:
        entry["reason"] = Reason.NOT_STARTED.value
    batch = [(done, Succeeded(b"1")), (idle, NOT_STARTED), (known, CRASHED)]
    found = await EarlierAttempts(store, _kind_of).judged(batch)
    assert [held for held, _ in found] == [done, idle, known]
    assert [ending for _, ending in found] == [
        Succeeded(b"1"),
        Interrupted(InterruptReason.NOT_STARTED, 3),
        Crashed("exit code 1", 2),
    ]


@pytest.mark.parametrize(
    ("others", "retryable"),
    [
        ([], False),
        ([{"demo": "own"}], False),
        ([{"demo": "another"}], True),
        ([{}], True),
        ([{"demo": "own"}, {}], True),
    ],
)
async def test_payload_not_taken_is_retried_while_another_version_lives(
    others: list[dict[str, str]], retryable: bool
) -> None:
    clock = ManualClock()
    store = ShakyStore(clock)
    held = await held_of(store, clock)
    own = kind_record("demo", "demo", schemas=(PayloadSchema("own", "1", "{}"),))
    for number, schemas in enumerate([{"demo": "own"}, *others]):
        made = WorkerRecord(str(number), "w", ("demo",), 1, 0, 0, "1", clock.now(), clock.now(), schemas=schemas)
        await store.refresh_worker(made)
    await store.refresh_worker(WorkerRecord("x", "w", ("mail",), 1, 0, 0, "1", clock.now(), clock.now()))
    ending = failed(INVALID_PAYLOAD, "/name must be a text", retryable=False)

    ((_, found),) = await EarlierAttempts(store, lambda name: own).judged([(held, ending)])

    assert isinstance(found, Failed)
    assert (found.retryable, found.error.retryable, found.error.message) == (retryable, retryable, ending.error.message)
