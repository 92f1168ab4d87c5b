"""Counts over time as HTTP shows them: of one's own tenant, by kind, and never more points than a window has."""

from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette

from acked_common.background.kind_cache import KindCache
from acked_common.background.minute_writer import MinuteWriter
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.instants import rfc3339
from acked_common.model.minute_buckets import COUNTED, STARTED, WINDOWS
from acked_gateway.jobs import timeseries as timeseries_module
from acked_gateway.jobs.routes import Reads
from acked_gateway.jobs.throughput import throughput_route
from acked_gateway.jobs.timeseries import timeseries_routes
from support.asgi import Answer, call
from support.factories import ManualClock, kind_record
from support.parts import ShakyStore


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.minutes = MinuteWriter(self.store, self.clock)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        self.kinds = KindCache(self.store)
        routes = [
            *timeseries_routes(self.store, self.clock, reads.turn),
            throughput_route(self.store, self.kinds, self.clock, reads.turn),
        ]
        self.app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def get(self, query: str = "") -> Answer:
        return await call(self.app, "GET", f"/timeseries{query}")

    async def points(self, query: str = "") -> list[dict[str, Any]]:
        response = await self.get(query)
        assert response.status == 200, response.body
        found: list[dict[str, Any]] = response.json["points"]
        return found

    async def note(self, count: int, *, tenant: str = "default", kind: str = "demo", waited_s: float = 0.2) -> None:
        self.minutes.note_started(tenant, kind, count, waited_s=waited_s)
        await self.minutes.write()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_window_has_all_of_its_points(bench: Bench, window: str) -> None:
    await bench.note(3)
    response = await bench.get(f"?window={window}")
    assert (response.json["window"], response.json["kind"], response.json["is_complete"]) == (window, None, True)
    points = response.json["points"]
    assert len(points) == WINDOWS[window].points <= 400
    assert [point[STARTED] for point in points] == [0] * (len(points) - 1) + [3]
    assert all(set(COUNTED) < point.keys() for point in points)
    assert points[-1]["at"] <= rfc3339(bench.clock.now())
    assert points[0]["wait_p50_s"] is None
    assert 0.15 < points[-1]["wait_p50_s"] <= points[-1]["wait_p95_s"] < 0.26
    assert (points[-1]["run_p50_s"], points[-1]["run_p95_s"]) == (None, None)


async def test_an_hour_by_minutes_is_what_is_shown_unless_asked(bench: Bench) -> None:
    response = await bench.get()
    assert (response.json["window"], response.json["step_s"], len(response.json["points"])) == ("1h", 60, 60)


async def test_counts_are_those_of_a_kind_and_of_the_own_tenant(bench: Bench) -> None:
    await bench.note(1)
    await bench.note(2, kind="other")
    await bench.note(4, tenant="acme")
    assert sum(point[STARTED] for point in await bench.points()) == 3
    assert sum(point[STARTED] for point in await bench.points("?kind=other")) == 2
    assert sum(point[STARTED] for point in await bench.points("?kind=nobody")) == 0


async def test_counts_of_an_hour_ago_stand_where_they_were(bench: Bench) -> None:
    await bench.note(1)
    bench.clock.advance(timedelta(hours=1).total_seconds())
    await bench.note(1)
    assert sum(point[STARTED] for point in await bench.points("?window=1h")) == 1
    found = [n for n, point in enumerate(await bench.points("?window=24h")) if point[STARTED]]
    assert found == [137, 143]


@pytest.mark.parametrize(
    ("query", "name"), [("?window=2h", "window"), ("?window=é", "window"), ("?kind=A%20b", "kind")]
)
async def test_what_means_nothing_is_refused_by_name(bench: Bench, query: str, name: str) -> None:
    response = await bench.get(query.replace("é", "%C3%A9"))
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    assert response.json["errors"][0]["pointer"] == f"?{name}"


async def test_a_typo_in_a_parameter_is_refused(bench: Bench) -> None:
    response = await bench.get("?windw=1h")
    assert (response.status, response.json["type"]) == (422, "/problems/unknown-field")


async def test_counts_that_were_not_all_read_are_marked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeseries_module, "MOST_READ", 1)
    await bench.note(1)
    assert (await bench.get()).json["is_complete"] is False


async def test_durations_of_the_whole_window_are_told_by_span(bench: Bench) -> None:
    for waited_s in (0.22, 0.22, 3.0):
        await bench.note(1, waited_s=waited_s)
        bench.clock.advance(60)
    found = (await bench.get()).json
    wait = found["wait"]
    assert [span["count"] for span in wait["spans"]] == [2, 1]
    for span, waited_s in zip(wait["spans"], (0.22, 3.0), strict=True):
        assert span["from_s"] < waited_s <= span["to_s"] < span["from_s"] * 1.3
    assert 0.15 < wait["p50_s"] < 0.26 and 2.4 < wait["p99_s"] < 3.3
    assert found["run"] == {"p50_s": None, "p95_s": None, "p99_s": None, "spans": []}


@pytest.mark.parametrize("window", WINDOWS)
async def test_counts_of_each_kind_are_added_up(bench: Bench, window: str) -> None:
    await bench.store.register_kinds([kind_record(name, name) for name in ("demo", "other", "idle")])
    await bench.kinds.refresh()
    await bench.note(2)
    await bench.note(3)
    await bench.note(4, kind="other")
    await bench.note(8, tenant="acme")
    found = (await bench.get(f"/kinds?window={window}")).json
    assert [(kind["kind"], kind[STARTED]) for kind in found["kinds"]] == [("demo", 5), ("other", 4)]
    assert found["since"] <= rfc3339(bench.clock.now())
    assert (await bench.get("/kinds?window=2h")).status == 422
