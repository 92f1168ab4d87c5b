"""A worker holds the lanes of paused kinds, and releases attempts that wait to begin."""

from collections.abc import Collection

from acked_common.background.pause_cache import PauseCache
from acked_common.model.pauses import Pause
from acked_common.store.errors import StoreUnavailable
from acked_worker.consume.paused_kinds import PausedKinds
from support.factories import ManualClock, kind_record
from support.parts import ShakyStore

AT = ManualClock().now()


class Lanes:
    """Notes which lanes are held."""

    def __init__(self) -> None:
        self.held: Collection[str] | None = None

    def hold(self, lanes: Collection[str]) -> None:
        self.held = lanes


class Bench:
    """A worker that serves two of three kinds."""

    def __init__(self) -> None:
        self.store = ShakyStore(ManualClock())
        self.pauses = PauseCache(self.store)
        self.lanes = Lanes()
        self.given_back: list[set[str]] = []
        kinds = {name: kind_record(name, f"lane-{name}") for name in ("a", "b")}
        PausedKinds(self.pauses, kinds, self.lanes, lambda kinds: self.given_back.append(set(kinds)))  # type: ignore[arg-type]

    @classmethod
    async def ready(cls) -> "Bench":
        made = cls()
        await made.store.register_kinds([kind_record(name, f"lane-{name}") for name in ("a", "b", "c")])
        return made

    async def pause(self, kind: str) -> None:
        await self.store.pause_kind(kind, Pause("ann", None, None, AT))
        await self.pauses.refresh()


async def test_lanes_are_held_while_their_kind_is_paused() -> None:
    bench = await Bench.ready()
    await bench.pauses.refresh()
    assert (bench.lanes.held, bench.given_back) == (set(), [])
    await bench.pause("a")
    assert bench.lanes.held == {"lane-a"}
    await bench.pause("b")
    assert bench.lanes.held == {"lane-a", "lane-b"}
    await bench.store.resume_kind("a", at=AT)
    await bench.pauses.refresh()
    assert bench.lanes.held == {"lane-b"}


async def test_kinds_of_other_workers_do_not_matter() -> None:
    bench = await Bench.ready()
    await bench.pause("c")
    assert (bench.lanes.held, bench.given_back) == (set(), [])


async def test_what_waits_is_given_back_at_each_look() -> None:
    # A claim that was under way may bring more of it.
    bench = await Bench.ready()
    await bench.pause("a")
    await bench.pauses.refresh()
    assert bench.given_back == [{"a"}, {"a"}]


async def test_without_mongodb_what_was_paused_stays_held() -> None:
    bench = await Bench.ready()
    await bench.pause("a")
    bench.store.is_away = True
    try:
        await bench.pauses.refresh()
    except StoreUnavailable:
        pass
    assert bench.lanes.held == {"lane-a"}
