"""Which payload schemas of a kind count, given the workers that live."""

from dataclasses import replace

import pytest

from acked_common.background.kind_cache import KindCache
from acked_common.background.schema_cache import SchemaCache, served_schemas
from acked_common.background.worker_cache import WorkerCache
from acked_common.model.payload_schemas import PayloadSchema, digest_of, parsed, stored_text
from acked_common.store.records import KindRecord, WorkerRecord
from support.factories import ManualClock, kind_record
from support.parts import ShakyStore

AT = ManualClock().now()


def schema(of: str) -> PayloadSchema:
    text = stored_text({"type": of})
    assert text is not None
    return PayloadSchema(digest_of(text), of, text)


OLD, NEW = schema("string"), schema("integer")


def kind(*schemas: PayloadSchema, newest: PayloadSchema | None = None) -> KindRecord:
    shown = None if newest is None else parsed(newest.text)
    return kind_record("mail", "mail", schemas=schemas, payload_schema=shown)


def worker(boot: str, of: PayloadSchema | None, *, kinds: tuple[str, ...] = ("mail",)) -> WorkerRecord:
    made = WorkerRecord(boot, boot, kinds, 8, 0, 0, "1", AT, AT)
    return made if of is None else replace(made, schemas={"mail": of.digest})


@pytest.mark.parametrize(
    ("workers", "counted", "is_checked"),
    [
        ([worker("1", NEW)], [NEW], True),
        ([worker("1", OLD)], [OLD], True),
        ([worker("1", OLD), worker("2", NEW), worker("3", NEW)], [NEW, OLD], True),
        ([worker("1", None)], [], False),
        ([worker("1", NEW), worker("2", None)], [NEW], False),
        ([worker("1", NEW), worker("2", None, kinds=("other",))], [NEW], True),
        ([worker("1", schema("null"))], [], False),
        ([worker("1", schema("null")), worker("2", OLD)], [OLD], False),
        ([], [NEW], True),
        ([worker("2", None, kinds=("other",))], [NEW], True),
    ],
)
def test_schemas_of_live_workers_count(
    workers: list[WorkerRecord], counted: list[PayloadSchema], is_checked: bool
) -> None:
    found = served_schemas(kind(NEW, OLD, newest=NEW), workers)
    assert (list(found.schemas), found.is_checked) == (counted, is_checked)


def test_nothing_is_checked_if_the_last_registration_had_no_schema() -> None:
    assert served_schemas(kind(NEW), []).is_checked is False
    assert served_schemas(kind(), [worker("1", None)]).is_checked is False


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.kinds = KindCache(self.store, self.clock.monotonic)
        self.workers = WorkerCache(self.store, seen_within_s=24.0)
        self.cache = SchemaCache(self.kinds, self.workers, self.clock.monotonic)


async def test_workers_are_read_only_while_a_kind_has_schemas() -> None:
    bench = Bench()
    await bench.store.register_kinds([kind_record("plain", "plain")])
    await bench.kinds.refresh()
    await bench.cache.refresh()
    assert "workers" not in bench.store.calls

    await bench.store.register_kinds([kind(NEW, newest=NEW)])
    await bench.kinds.refresh()
    await bench.cache.refresh()
    assert bench.store.calls.count("workers") == 1


async def test_a_schema_of_a_new_worker_is_read_with_the_worker() -> None:
    bench = Bench()
    await bench.store.register_kinds([kind(OLD, newest=OLD)])
    await bench.store.refresh_worker(worker("1", OLD))
    await bench.kinds.refresh()
    await bench.cache.refresh()
    await bench.store.register_kinds([kind(NEW, OLD, newest=NEW)])
    await bench.store.refresh_worker(worker("2", NEW))
    bench.workers = bench.cache._source = WorkerCache(bench.store, seen_within_s=24.0)
    await bench.cache.refresh()
    found = bench.kinds.get("mail")
    assert found is not None
    served = bench.cache.served(found)
    assert (list(served.schemas), served.is_checked) == ([NEW, OLD], True)


async def test_a_schema_that_the_kind_does_not_keep_is_looked_for_once() -> None:
    bench = Bench()
    await bench.store.register_kinds([kind(OLD, newest=OLD)])
    await bench.store.refresh_worker(worker("1", schema("null")))
    await bench.kinds.refresh()
    bench.store.calls.clear()
    for _ in range(3):
        await bench.cache.refresh()
    assert bench.store.calls.count("kinds") == 1


async def test_nothing_is_checked_before_the_workers_were_read() -> None:
    bench = Bench()
    assert bench.cache.served(kind(NEW, newest=NEW)).is_checked is False


async def test_many_refused_payloads_share_one_look() -> None:
    bench = Bench()
    await bench.store.register_kinds([kind(OLD, newest=OLD)])
    await bench.store.refresh_worker(worker("1", OLD))
    await bench.kinds.refresh()
    await bench.cache.refresh()
    await bench.store.register_kinds([kind(NEW, newest=NEW)])
    await bench.store.refresh_worker(worker("2", NEW))
    bench.store.calls.clear()

    for _ in range(5):
        found = await bench.cache.look_again("mail")
        assert found is not None
        assert list(bench.cache.served(found).schemas) == [NEW, OLD]

    assert bench.store.calls.count("workers") == bench.store.calls.count("kinds") == 1
    bench.clock.advance(1.0)
    await bench.cache.look_again("mail")
    assert bench.store.calls.count("workers") == 2
