"""No-op jobs done a second by two worker processes, from a queue that was filled before."""

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.sessions import DRAINED, Sessions, sessions
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "drain"
COLUMNS = {"drained": "jobs/s"}
BARS = (
    ("Celery", Bar("done, of Celery with results", Side.AT_LEAST, 10)),
    ("Taskiq", Bar("done, of Taskiq", Side.AT_LEAST, 2)),
    ("Dramatiq", Bar("done, of Dramatiq", Side.MORE_THAN, 1)),
)


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    found = sessions(bench)
    result = FigureResult(NAME, "End to end: no-op jobs done by two worker processes", COLUMNS)
    ours = _drained(found, bench.ours.name)
    for name in DRAINED:
        theirs = _drained(found, name)
        of_peer = None if name == bench.ours.name else ratio(ours, theirs)
        result.rows.append(Row(name, {"drained": theirs}, of_peer, found.notes.get(name, "")))
    by_name = {row.name: row.ratio for row in result.rows}
    result.judged = judged([(bar, by_name[name]) for name, bar in BARS])
    result.notes.append(
        "Each of our jobs is claimed, finished and recorded durably, and each of Celery's has its result stored; the "
        "others acknowledge a message."
    )
    return result


def _drained(found: Sessions, name: str) -> Spread:
    spread = found.spread(name, "drained")
    assert spread is not None
    return spread
