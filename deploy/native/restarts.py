"""Count how often each part was restarted, from the supervisor's log."""

import re
from collections import Counter

from deploy.native import rolling
from deploy.native.layout import Layout
from deploy.native.supervisor import SUPERVISOR_LOG

_SPAWNED = re.compile(r"spawned: '([^']+)' with pid")


def restarts(layout: Layout) -> dict[str, int]:
    """Return how often each part was started again since `up`, by the supervisor or by a person.

    The log is rotated, so starts that are no longer in it are not counted.
    """
    starts: Counter[str] = Counter()
    try:
        with (layout.logs / SUPERVISOR_LOG).open(errors="replace") as lines:
            for line in lines:
                if "supervisord started with pid" in line:
                    starts.clear()
                elif found := _SPAWNED.search(line):
                    starts[rolling.part_of(found[1])] += 1
    except OSError:
        pass
    return {part: number - 1 for part, number in starts.items()}
