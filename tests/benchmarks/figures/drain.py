"""No-op jobs done a second by two worker processes, from a queue that was filled before."""

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.sessions import DRAINED, Sessions, sessions
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "drain"
COLUMNS = {"drained": "jobs/s"}
BARS = (
    ("Celery", Bar("completed ÷ Celery with results", Side.AT_LEAST, 10)),
    ("Taskiq", Bar("completed ÷ Taskiq", Side.AT_LEAST, 2)),
    ("Dramatiq", Bar("completed ÷ Dramatiq", Side.MORE_THAN, 1)),
)


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    found = sessions(bench)
    result = FigureResult(NAME, "End to end: no-op jobs completed by two worker processes", COLUMNS)
    ours = _drained(found, bench.ours.name)
    for name in DRAINED:
        theirs = _drained(found, name)
        of_peer = None if name == bench.ours.name else ratio(ours, theirs)
        result.rows.append(Row(name, {"drained": theirs}, of_peer, found.notes.get(name, "")))
    by_name = {row.name: row.ratio for row in result.rows}
    result.judged = judged([(bar, by_name[name]) for name, bar in BARS])
    result.notes.append(
        "Acked claims, finishes and records each job durably, and Celery stores each result; the others only "
        "acknowledge a message."
    )
    return result


def _drained(found: Sessions, name: str) -> Spread:
    spread = found.spread(name, "drained")
    assert spread is not None
    return spread
