"""Accepted requests a second and their latency, all workers stopped: ours, bare Starlette, and the peers."""

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.sessions import BESIDE_WORKERS, KEYED, Sessions, sessions
from benchmarks.plan import CONNECTIONS
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "accept"
COLUMNS = {"accepted": "requests/s", "p50": "ms", "p99": "ms"}
BARS = (
    ("bare Starlette", Bar("accepted ÷ bare Starlette", Side.AT_LEAST, 0.40)),
    ("Taskiq", Bar("accepted ÷ Taskiq", Side.AT_LEAST, 3)),
    ("Dramatiq", Bar("accepted ÷ Dramatiq", Side.AT_LEAST, 5)),
    ("Celery", Bar("accepted ÷ Celery", Side.AT_LEAST, 6)),
    ("DBOS", Bar("accepted ÷ DBOS enqueue", Side.AT_LEAST, 8)),
)


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    found = sessions(bench)
    result = FigureResult(NAME, f"Accept: {CONNECTIONS} connections, one intake process", COLUMNS)
    ours = _accepted(found, bench.ours.name)
    names = [bench.ours.name, KEYED, BESIDE_WORKERS, *(peer.name for peer in bench.peers.values())]
    for name in names:
        values = {column: spread for column in COLUMNS if (spread := found.spread(name, column))}
        is_ours = name.startswith(bench.ours.name)
        result.rows.append(Row(name, values, None if is_ours else ratio(ours, _accepted(found, name))))
    by_name = {row.name: row.ratio for row in result.rows}
    result.judged = judged([(bar, by_name[name]) for name, bar in BARS])
    result.notes.append(
        "All workers are stopped, except in the row with two workers. The targets apply to the first row. A key costs "
        "an entry in one more index, and each process checks for a second request with the same key."
    )
    return result


def _accepted(found: Sessions, name: str) -> Spread:
    spread = found.spread(name, "accepted")
    assert spread is not None
    return spread
