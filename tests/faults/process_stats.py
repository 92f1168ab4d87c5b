"""What each service process uses: memory, open files, threads and tasks, to see whether it returns to its base."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faults.rig import Rig

MAY_GROW_MIB = 100.0
MAY_GROW_FILES = 40
MAY_GROW_FILES_AT_REST = 8
"""Behind a minute without work, when the connections of a burst are gone."""
MAY_GROW_THREADS = 70
"""The driver's pool has up to 64 threads, which it makes when it needs them and keeps."""
MAY_GROW_TASKS = 60


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """Of one process."""

    pid: int
    memory_mib: float
    files: int
    threads: int
    tasks: int


def process_stats(rig: Rig) -> dict[str, ProcessStats]:
    """Of each service part that runs."""
    found: dict[str, ProcessStats] = {}
    for part in rig.parts():
        pid = rig.pid(part)
        status = Path(f"/proc/{pid}/status").read_text()
        found[part] = ProcessStats(
            pid,
            _number(r"VmRSS:\s+(\d+)", status) / 1024,
            len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - names only
            int(_number(r"Threads:\s+(\d+)", status)),
            int(rig.stack.metric("acked_tasks", to=part)),
        )
    return found


def growth(base: Mapping[str, ProcessStats], now: Mapping[str, ProcessStats], *, is_at_rest: bool = False) -> list[str]:
    """I10: what has grown more than it may, against the largest base of its role: most processes are younger."""
    found: list[str] = []
    for part, is_now in now.items():
        role = part.split("-")[0]
        bases = [one for name, one in base.items() if name.split("-")[0] == role]
        for name, may_grow in (
            ("memory_mib", MAY_GROW_MIB),
            ("files", MAY_GROW_FILES_AT_REST if is_at_rest else MAY_GROW_FILES),
            ("threads", MAY_GROW_THREADS),
            ("tasks", MAY_GROW_TASKS),
        ):
            was, found_now = max(getattr(one, name) for one in bases), getattr(is_now, name)
            if found_now - was > may_grow:
                found.append(f"I10 {part} uses {name} {found_now:.0f}, at first {was:.0f}")
    return found


def _number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    return float(match[1]) if match else 0.0
