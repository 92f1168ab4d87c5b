"""Submit the lines of a file as one batch and wait for its end: `python nightly_batch.py orders.csv 2026-11-29`.

Run it again after a crash, with the same file and the same night: no line becomes a second job. The exit code is 1 if a
line was refused or a job failed.
"""

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator

from acked_client import Acked, Submission

GATEWAY = os.environ.get("GATEWAY", "http://localhost:8080")
ENDED = ("succeeded", "failed", "cancelled")


def submissions(path: str, batch: str) -> Iterator[Submission]:
    """Yield one submission a line, while the file is read."""
    with open(path, newline="") as lines:  # noqa: PTH123 - the usual way in a small program
        for line in csv.DictReader(lines):
            yield Submission(kind="example.report", payload={"rows": int(line["rows"])}, batch=batch)


def main(path: str, night: str) -> int:
    """Run the batch of one night and return the exit code."""
    batch = f"nightly-{night}"
    states: dict[str, str] = {}
    refused = 0
    with Acked(GATEWAY) as acked:
        # The keys are nightly-2026-11-29:0, …:1, and so on: the same line is the same job.
        for row in acked.submit_many(submissions(path, batch), key_prefix=batch):
            if row.job is not None:
                states[row.job.id] = ""
            else:
                refused += 1
                print(f"line {row.index + 1} is refused: {row.error}", file=sys.stderr)  # noqa: T201
        left = set(states)
        # The watch begins with the present states, so it also shows what ended before it.
        for event in acked.watch(batch=batch) if left else ():
            states[event.id] = event.state
            if event.state in ENDED:
                left.discard(event.id)
            if not left:
                break
    counts = Counter(states.values())
    print(f"{batch}: {dict(counts)}, {refused} refused")  # noqa: T201
    return 0 if refused == 0 and counts["succeeded"] == len(states) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
