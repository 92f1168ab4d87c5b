"""What others know of a worker: its kinds, its document, and its first frame to gateways."""

import asyncio

import pytest

from acked_common.background.kind_cache import KindCache
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import WorkerRecord
from acked_worker.consume.in_flight import InFlightAttempts
from acked_worker.presence import REGISTER_EVERY_S, Presence, WorkerIdentity
from support.factories import ManualClock, kind_record
from support.parts import ShakyStore

KINDS = {name: kind_record(name, "shared") for name in ("b", "a")}


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.stop = asyncio.Event()
        self.cache = KindCache(self.store)
        identity = WorkerIdentity("boot", "w", KINDS, 200, self.clock.now())
        running = InFlightAttempts()
        self.presence = Presence(
            identity, self.store, self.cache, running, self.clock, finished=lambda: 7, stop=self.stop
        )

    async def document(self) -> WorkerRecord | None:
        return next(iter(await self.store.workers(seen_within_s=60.0)), None)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_kinds_are_registered_with_the_time_of_each_registration(bench: Bench) -> None:
    await bench.presence.register()
    bench.clock.advance(REGISTER_EVERY_S)
    await bench.presence.register()
    found = await bench.store.kinds()
    assert {name: record.seen_at for name, record in found.items()} == dict.fromkeys(KINDS, bench.clock.now())


async def test_kind_that_only_others_serve_is_warned_of(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await bench.store.register_kinds([kind_record("theirs", "shared", seen_at=bench.clock.now())])
    await bench.cache.refresh()
    await bench.presence.register()
    assert "theirs" in capsys.readouterr().out


async def test_document_names_the_worker_and_its_work(bench: Bench) -> None:
    await bench.presence.refresh()
    found = await bench.document()
    assert found is not None
    assert (found.boot, found.name, found.kinds, found.slots) == ("boot", "w", ("a", "b"), 200)
    assert (found.running, found.finished, found.seen_at) == (0, 7, bench.clock.now())
    assert not bench.stop.is_set()


async def test_drain_in_the_document_stops_the_worker(bench: Bench) -> None:
    await bench.presence.refresh()
    await bench.store.request_drain("boot")
    await bench.presence.refresh()
    assert bench.stop.is_set()


async def test_worker_that_leaves_has_no_document(bench: Bench) -> None:
    await bench.presence.refresh()
    await bench.presence.leave()
    assert await bench.document() is None


async def test_leaving_outlives_a_store_that_is_away(bench: Bench) -> None:
    bench.store.failures["forget_worker"] = [StoreUnavailable("away")]
    await bench.presence.leave()
    assert bench.store.calls[-1] == "forget_worker"


async def test_first_frame_says_the_same_as_the_document(bench: Bench) -> None:
    await bench.presence.refresh()
    document, hello = await bench.document(), bench.presence.hello(3)
    assert document is not None
    assert (hello.worker, tuple(hello.kinds), hello.slots) == (document.name, document.kinds, document.slots)
    assert (hello.version, hello.stream) == (document.version, 3)
