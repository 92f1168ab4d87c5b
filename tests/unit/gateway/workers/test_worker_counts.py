"""A kind without a worker has the figure 0, because an absent series would cause no alert."""

from prometheus_client import REGISTRY

from acked_common.background.kind_cache import KindCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.store.records import WorkerRecord
from acked_gateway.workers.worker_counts import WorkerCounts
from support.factories import ManualClock, kind_record
from support.memory_store import MemoryStore


def workers(kind: str) -> float | None:
    return REGISTRY.get_sample_value("acked_workers", {"kind": kind})


async def test_workers_are_counted_by_kind_and_a_registered_kind_without_one_is_0() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    kinds = KindCache(store)
    await store.register_kinds([kind_record(name, name) for name in ("mail", "report", "unserved")])
    await kinds.refresh()
    for number, names in enumerate((("mail",), ("mail", "report"))):
        await store.refresh_worker(
            WorkerRecord(f"boot-{number}", "w", names, 1, 0, 0, "1", since_at=clock.now(), seen_at=clock.now())
        )
    counts = WorkerCounts(WorkerCache(store, seen_within_s=60.0), kinds)
    assert workers("mail") is None
    await counts.count()
    assert [workers(kind) for kind in ("mail", "report", "unserved")] == [2, 1, 0]
