"""Suspend a process, as a pause of its machine does."""

import os
import signal
from pathlib import Path

from support.stacks import eventually

STOPS_WITHIN_S = 20.0


def freeze(pid: int) -> None:
    """Send SIGSTOP and return once every thread has stopped.

    The signal is handled by one thread of the process; on a busy machine the others run until then.
    """
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    eventually(
        lambda: all(_stands_still(stat) for stat in threads.glob("*/stat")),
        within_s=STOPS_WITHIN_S,
        what=f"process {pid} stands still",
    )


def _stands_still(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TXZ"
    except OSError:
        # The thread has just exited.
        return True
