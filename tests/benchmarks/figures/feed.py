"""From MongoDB's acknowledgement of a transition to the event at a client of the feed."""

from benchmarks import transitions
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.crowd import Crowd
from benchmarks.followers import Counted, Order
from benchmarks.plan import EVENTS_PER_S, FOLLOWERS
from benchmarks.processes import ChildError
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile

NAME = "feed"
COLUMNS = {"p50": "ms", "p99": "ms", "max": "ms", "delivered": "events/s"}
BARS = (
    ("p50", Bar("p50, acknowledged → feed client", Side.AT_MOST, 3, "ms")),
    ("p99", Bar("p99, acknowledged → feed client", Side.AT_MOST, 25, "ms")),
)
APART = f"each event to one of {FOLLOWERS} clients"
TOGETHER = f"each event to all of {FOLLOWERS} clients"
_SAMPLED = 5
"""Of the clients that all hear the same, so many keep what they hear."""
_LEAST_HEARD = 0.99
_COME_WITHIN_S = 5.0


def measure(bench: Bench) -> FigureResult:
    """The figure; both ways in turn."""
    values: dict[str, dict[str, list[float]]] = {way: {column: [] for column in COLUMNS} for way in (APART, TOGETHER)}
    bench.ours.wake()
    try:
        for number in range(bench.plan.rounds):
            for way, found in values.items():
                latencies, counted = _one_round(bench, way, f"feed-{number}-{len(way)}")
                found["p50"].append(percentile(latencies, 0.5))
                found["p99"].append(percentile(latencies, 0.99))
                found["max"].append(max(latencies))
                found["delivered"].append(counted.events / bench.plan.feed_s)
                bench.say(f"round {number + 1}: {way}: p50 {found['p50'][-1]:.2f} ms, p99 {found['p99'][-1]:.2f} ms")
    finally:
        bench.leave(bench.ours)
    result = FigureResult(NAME, f"Acknowledged → feed client, at {EVENTS_PER_S:,} transitions/s", COLUMNS)
    for way, found in values.items():
        spreads = {column: Spread(tuple(rounds)) for column, rounds in found.items()}
        result.rows.append(Row(way, spreads))
        if way == APART:
            result.judged = judged([(bar, spreads[column].median) for column, bar in BARS])
    result.notes.append(
        "The benchmark makes transitions through the product's store, and records when MongoDB acknowledges each "
        "(majority, journal). An event that arrives before its acknowledgement counts as 0. The targets apply to the "
        f"first row. In the second row {FOLLOWERS * EVENTS_PER_S:,} events a second are delivered. The clients share "
        f"the cores and cause a large part of that cost; {_SAMPLED} of them are sampled. No peer has a comparable feed."
    )
    return result


def _one_round(bench: Bench, way: str, name: str) -> tuple[list[float], Counted]:
    batches = [f"{name}-{number}" for number in range(FOLLOWERS)] if way == APART else [name]
    order = Order(
        port=bench.ours.gateway_port,
        clients=FOLLOWERS,
        token=bench.ours.token,
        scopes=[{"batch": batch} for batch in batches],
        sampled=FOLLOWERS if way == APART else _SAMPLED,
        heard=str(bench.folder / "run" / "heard"),
    )
    with Crowd(order) as crowd:
        crowd.go()
        made = transitions.make(
            bench.ours.stack.urls["mongo"],
            per_s=EVENTS_PER_S,
            seconds=bench.plan.feed_s,
            batch_of=lambda number: batches[number % len(batches)],
        )
        expected = len(made.acknowledged) * (1 if way == APART else FOLLOWERS)
        crowd.wait_events(expected, _COME_WITHIN_S)
        counted = crowd.end()
        heard = crowd.heard()
    latencies = [
        max(0.0, (at - acknowledged) / 1e6)
        for job_id, rev, at in heard
        if (acknowledged := made.acknowledged.get((job_id, rev))) is not None
    ]
    wanted = len(made.acknowledged) * (1 if way == APART else _SAMPLED)
    if len(latencies) < wanted * _LEAST_HEARD or counted.lost:
        raise ChildError(f"{len(latencies):,} of {wanted:,} events were heard, {counted.lost} connections ended")
    return latencies, counted
