"""Stops a process for a while, as a pause of its machine does."""

import os
import signal
import time
from pathlib import Path

STOPS_WITHIN_S = 20.0


def freeze(pid: int) -> None:
    """SIGSTOP; returns when every thread stands still.

    The signal waits for one thread of the process to run; on a busy machine the others go on until then.
    """
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + STOPS_WITHIN_S
    while not all(_stands_still(stat) for stat in Path(f"/proc/{pid}/task").glob("*/stat")):
        assert time.monotonic() < end, f"process {pid} does not stop"
        time.sleep(0.005)


def _stands_still(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TXZ"
    except OSError:
        # The thread has just ended.
        return True
