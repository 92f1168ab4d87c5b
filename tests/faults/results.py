"""The table: one line an experiment. Printed at the end of a run, and written where `ACKED_TEST_FAULT_RESULTS` says."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from faults.checker import Figures

COLUMNS = (
    ("accepted", "accepted"),
    ("refused", "refused"),
    ("unknown", "unknown"),
    ("ended", "ended"),
    ("lost", "lost"),
    ("stuck", "stuck"),
    ("ended_twice", "ended twice"),
    ("failed", "failed by the fault"),
    ("reruns", "run again"),
    ("doubled", "effects doubled"),
    ("taken_back_s", "taken back within, s"),
    ("claimed_again_s", "claimed again within, s"),
    ("resyncs", "resyncs"),
    ("gaps", "feed gaps"),
    ("p99_ms", "p99 of 202, ms"),
)
_HEAD = """# What the fault suite found

Each line is one experiment: a stack of real processes under load, faults on purpose, then the checker
(`tests/faults/checker.py`) over the ledgers of clients and handlers, the observers of the feed and the database.
*Unknown* are requests whose client could not learn what became of them; they are stored whole or not at all, and what
is stored runs. *Run again* counts lost leases; *effects doubled* are jobs whose handler came to its end twice, because
its process died between the end and the record: the promise is at least once. *Taken back within* is counted from the
kill or the pause, *claimed again within* from there: such a job stands behind all that wait. All that must be 0 is 0,
or the test fails.

Made by:

    ACKED_TEST_FAULT_RESULTS=docs/fault-results.md ./just test faults

100 SIGKILLs of intake, gateway and workers at random moments under 300 requests a second, and faults mixed at random,
print the same table:

    ./just soak --kills 100 --seed 1
    ./just soak --minutes 60 --seed 7

"""


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment."""

    name: str
    figures: Figures
    took_s: float
    note: str = ""


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By the number of the experiment, those without one at the end."""

    def number(row: Row) -> int:
        first = re.match(r"\d+", row.name)
        return int(first[0]) if first else sys.maxsize

    return sorted(rows, key=number)


def lines_of(rows: Sequence[Row]) -> list[str]:
    """The table in Markdown."""
    heads = ["experiment", *(head for _, head in COLUMNS), "took, s", "note"]
    lines = [_line(heads), _line(["---", *("---:" for _ in COLUMNS), "---:", "---"])]
    for row in rows:
        values = [_shown(getattr(row.figures, name)) for name, _ in COLUMNS]
        lines.append(_line([row.name, *values, f"{row.took_s:.0f}", row.note]))
    return lines


def document_of(rows: Sequence[Row], former: str = "") -> str:
    """The whole page; its further sections stay as the `former` page has them: they come from runs of hours."""
    _, heading, further = former.partition("\n## ")
    return _HEAD + "\n".join(lines_of(rows)) + "\n" + heading + further


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.1f}"


KEPT: list[Row] = []
"""The rows of this run."""
