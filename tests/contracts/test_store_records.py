"""What the store keeps beside jobs: kinds, workers, watermarks, the clock and the schema's version."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from acked_common.model.ids import new_id
from acked_common.model.pauses import Pause
from acked_common.model.payload_schemas import SCHEMAS_KEPT, PayloadSchema
from acked_common.store.errors import SchemaMismatch
from acked_common.store.records import KindRecord, RunningJob, WorkerRecord
from contracts.conftest import AnyStore
from support.factories import ago, eventually, kind_record, now, until_readable
from support.whole_store import JobStore

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$ref": "#/$defs/a.b",
    "$id": "x",
    "$defs": {"a.b": {"type": "object", "properties": {"": {"maximum": 2**80}}}},
}


async def test_kinds_come_back_as_they_were_registered(store: JobStore) -> None:
    plain = kind_record("plain", "kind.plain")
    full = KindRecord("full", "shared", "7", 2.5, 9, 0.25, 12.0, 4, SCHEMA, now())
    assert await store.kinds() == {}

    await store.register_kinds([plain, full])
    await store.register_kinds([])

    assert await store.kinds() == {"plain": plain, "full": full}


async def test_a_kind_that_is_registered_again_is_refreshed(store: JobStore) -> None:
    first, other = kind_record("a", "lane-1", payload_schema=SCHEMA), kind_record("b", "lane-1")
    await store.register_kinds([first, other])
    second = replace(first, lane="lane-2", version="2", payload_schema=None, seen_at=now())

    await store.register_kinds([second])

    assert await store.kinds() == {"a": second, "b": other}


async def test_workers_that_register_the_same_kind_at_once(store: JobStore) -> None:
    records = [kind_record("a", "lane", version=str(n)) for n in range(20)]

    await asyncio.gather(*(store.register_kinds([record]) for record in records))

    kinds = await store.kinds()
    assert list(kinds) == ["a"]
    assert kinds["a"] in records


def _with_schema(of: str, version: str = "1") -> KindRecord:
    text = f'{{"$ref": "#/$defs/{of}", "a.b": "$$NOW"}}'
    return kind_record("a", "lane", version=version, payload_schema=SCHEMA, schemas=(PayloadSchema(of, version, text),))


async def test_schemas_of_several_versions_stand_together(store: JobStore) -> None:
    first, second = _with_schema("one"), _with_schema("two", "2")
    await store.register_kinds([first])
    assert await store.kinds() == {"a": first}

    await store.register_kinds([second])
    assert await store.kinds() == {"a": replace(second, schemas=(*second.schemas, *first.schemas))}

    await store.register_kinds([first])
    assert await store.kinds() == {"a": replace(first, schemas=(*first.schemas, *second.schemas))}


async def test_a_registration_without_a_schema_leaves_those_of_others(store: JobStore) -> None:
    typed, plain = _with_schema("one"), kind_record("a", "lane", version="0")
    await store.register_kinds([typed])
    await store.register_kinds([plain])
    assert await store.kinds() == {"a": replace(plain, schemas=typed.schemas)}


async def test_the_newest_schemas_of_a_kind_are_kept(store: JobStore) -> None:
    for number in range(SCHEMAS_KEPT + 3):
        await store.register_kinds([_with_schema(f"s{number}")])
    kept = (await store.kinds())["a"].schemas
    assert [schema.digest for schema in kept] == [f"s{n}" for n in reversed(range(3, SCHEMAS_KEPT + 3))]


async def test_a_schema_does_not_change_a_pause(store: JobStore) -> None:
    await store.register_kinds([_with_schema("one")])
    await store.pause_kind("a", Pause("ann", None, None, now()))
    await store.register_kinds([_with_schema("two")])
    assert (await store.pauses())["a"].current is not None


def _worker(boot: str, seen_at: datetime, **fields: object) -> WorkerRecord:
    jobs = (RunningJob(new_id(), "a", 2, ago(60)), RunningJob(new_id(), "b", 1, ago(5), "acme"))
    record = WorkerRecord(boot, f"host-{boot}", ("a", "b"), 200, 3, 1000, "0.1.0", ago(3600), seen_at, jobs)
    return replace(record, **fields)  # type: ignore[arg-type]


async def test_workers_are_known_while_they_are_seen(store: JobStore) -> None:
    fresh, stale = _worker("2", now(), schemas={"a": "digest"}), _worker("1", ago(60))
    also = _worker("3", ago(5))
    for worker in (fresh, stale, also):
        await store.refresh_worker(worker)

    async def is_listed() -> bool:
        return await store.workers(seen_within_s=20.0) == [fresh, also]

    await eventually(is_listed)
    assert await store.workers(seen_within_s=90.0) == [stale, fresh, also]


async def test_a_worker_is_refreshed_and_forgotten(store: JobStore) -> None:
    first, other = _worker("1", ago(10)), _worker("2", now())
    await store.refresh_worker(first)
    await store.refresh_worker(other)
    second = replace(first, running=7, finished=2000, seen_at=now())
    await store.refresh_worker(second)

    async def is_refreshed() -> bool:
        return await store.workers(seen_within_s=60.0) == [second, other]

    await eventually(is_refreshed)
    await store.forget_worker("1")
    await store.forget_worker("never known")

    async def is_forgotten() -> bool:
        return await store.workers(seen_within_s=60.0) == [other]

    await eventually(is_forgotten)


async def test_a_worker_learns_with_its_refresh_that_it_shall_drain(store: JobStore) -> None:
    asked, other = _worker("1", now()), _worker("2", now())
    assert await store.refresh_worker(asked) is False
    assert await store.refresh_worker(other) is False

    assert await store.request_drain("1") is True
    assert await store.request_drain("1") is True
    assert await store.request_drain("never known") is False

    assert await store.refresh_worker(replace(asked, running=0)) is True
    assert await store.refresh_worker(replace(asked, running=1)) is True, "it is not forgotten by being told"
    assert await store.refresh_worker(other) is False
    assert {worker.boot: worker.drain_requested for worker in await store.workers(seen_within_s=60.0)} == {
        "1": True,
        "2": False,
    }
    await store.forget_worker("1")
    assert await store.request_drain("1") is False
    assert await store.refresh_worker(asked) is False


async def test_a_watermark_never_falls(store: JobStore) -> None:
    high, low = now(), ago(60)
    assert await store.watermarks() == {}
    await store.raise_watermark("a", low)
    await store.raise_watermark("b", low)
    await store.raise_watermark("a", high)
    await store.raise_watermark("a", low)

    await until_readable(store)
    assert await store.watermarks() == {"a": high, "b": low}


async def test_racing_watermarks_leave_the_newest(store: JobStore) -> None:
    start = ago(60)
    instants = [start + timedelta(milliseconds=(n * 7) % 20) for n in range(20)]

    await asyncio.gather(*(store.raise_watermark("a", at) for at in instants))

    await until_readable(store)
    assert await store.watermarks() == {"a": max(instants)}


async def test_the_servers_time(store: JobStore) -> None:
    before = now()

    at = await store.server_time()

    assert at.utcoffset() == timedelta(0)
    assert before <= at <= datetime.now(UTC)
    assert at.microsecond % 1000 == 0


async def test_the_schema_is_wanted_before_work(bare_store: AnyStore) -> None:
    with pytest.raises(SchemaMismatch):
        await bare_store.check_schema()

    await bare_store.ensure_schema()
    await bare_store.check_schema()


async def test_a_database_keeps_the_id_that_it_was_made_with(bare_store: AnyStore) -> None:
    assert await bare_store.database_id() is None

    await bare_store.ensure_schema()
    made = await bare_store.database_id()
    await bare_store.ensure_schema()

    assert made
    assert await bare_store.database_id() == made


async def test_making_the_schema_again_keeps_everything(store: AnyStore) -> None:
    await store.register_kinds([kind_record("a", "lane")])

    await store.ensure_schema()

    await store.check_schema()
    assert set(await store.kinds()) == {"a"}
