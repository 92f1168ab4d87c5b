"""The table: one row per experiment. Printed at the end of a run, and written where `ACKED_TEST_FAULT_RESULTS` says."""

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
    ("reruns", "lost leases"),
    ("doubled", "duplicate effects"),
    ("taken_back_s", "requeued within, s"),
    ("claimed_again_s", "claimed again within, s"),
    ("resyncs", "resyncs"),
    ("gaps", "feed gaps"),
    ("p99_ms", "p99 of 202, ms"),
)
_HEAD = """# Fault suite results

Each row is one experiment: a stack of real processes under load, with deliberate faults. Afterwards the checker
(`tests/faults/checker.py`) compares the ledgers of clients and handlers, the feed observers and the database. A value
that must be 0 fails the experiment if it is not 0.

- **unknown**: requests whose client could not learn the outcome. Each is stored completely or not at all, and every
  stored one runs.
- **lost leases**: attempts whose lease expired. Their jobs run again.
- **duplicate effects**: jobs whose handler reached its end twice, because its process died between the end and the
  record. The guarantee is at least once.
- **requeued within**: longest time from a kill or a pause until the sweeper requeued a job.
- **claimed again within**: longest time from there to the next claim. A requeued job waits behind all queued jobs.
- **40 to 42**: operators move many jobs, run jobs now and pause a kind meanwhile. Each planned job must move exactly
  once, no other may, and no job of the kind may start from three seconds after the pause on.
- **43 to 50**: durable jobs run, park and resume meanwhile, and clients send each of them its signals, often more than
  once. A confirmed signal must be in the result once, a step may run again only behind an attempt that was lost, and
  MongoDB's change stream must show no entry of a ledger that was changed, or was written by an attempt behind the open
  of another.

Created by:

    ACKED_TEST_FAULT_RESULTS=docs/fault-results.md ./just test faults -m 'long or not long'

The soak prints the same table. It sends 100 SIGKILLs to intake, gateway and workers at random moments under 300
requests/s, or combines faults, bulk retries, run now and pauses at random:

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
    heads = ["experiment", *(head for _, head in COLUMNS), "duration, s", "note"]
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
