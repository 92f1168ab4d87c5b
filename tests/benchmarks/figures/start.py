"""From the submission of a job to the start of its handler: one at a time on an idle system, and at a steady rate."""

from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.figures.sessions import PARTS, sessions
from benchmarks.plan import PACED_PER_S
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio

NAME = "start"
COLUMNS = {"idle 202 p50": "ms", "idle p50": "ms", "idle p99": "ms", "at rate p50": "ms", "at rate p99": "ms"}


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    found = sessions(bench)
    result = FigureResult(NAME, f"Submission → handler start: idle, and at {PACED_PER_S:g} jobs/s", COLUMNS)
    peers = [peer.name for peer in bench.peers.values() if peer.workers]
    ratios: dict[str, float | None] = {}
    for name in (bench.ours.name, PARTS, *peers):
        values = {column: spread for column in COLUMNS if (spread := found.spread(name, column))}
        ratios[name] = ratio(_idle(found.spread(bench.ours.name, "idle p50")), _idle(values.get("idle p50")))
        shown = None if name == bench.ours.name else ratios[name]
        result.rows.append(Row(name, values, shown, found.late.get(name, "")))
    of_peers = [of_it for name in peers if (of_it := ratios[name]) is not None]
    p99 = ratio(_idle(found.spread(bench.ours.name, "idle p99")), _idle(found.spread(PARTS, "idle p99")))
    result.judged = judged(
        [
            (Bar("idle p50 ÷ sum of its parts", Side.AT_MOST, 1.4), ratios[PARTS]),
            (Bar("idle p99 ÷ sum of its parts", Side.AT_MOST, 3), p99),
            (Bar("idle p50 ÷ fastest peer", Side.LESS_THAN, 1), max(of_peers, default=None)),
        ]
    )
    result.notes.append(
        "Measured from the moment a client sends the request to the first statement of the handler, with two workers "
        "running. The parts are measured one after the other, without HTTP. The ratio is that of the idle p50."
    )
    return result


def _idle(found: Spread | None) -> Spread:
    assert found is not None
    return found
