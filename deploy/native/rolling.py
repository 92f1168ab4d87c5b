"""How a rolling restart replaces processes without changing their names. Pure.

Each service gets some new processes first. When they are ready, all old ones get the stop signal at once. From then
on only new ones claim jobs and accept connections, so a job, a feed or a long poll moves once, and not from one old
process to the next. An old process that has exited makes room for a further new one. The new processes that started
first stay, because stopping them would move their jobs a second time.

So for a while two processes are `worker-1`. The supervisor knows them as two programs, `worker-1` and `worker-1.b`,
which take turns from one restart to the next. Everything else sees the part `worker-1` alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

_OTHER = ".b"
_GOES_ON = ("RUNNING", "STARTING", "BACKOFF")


def part_of(program: str) -> str:
    """Return the part of a program of the supervisor."""
    return program.removesuffix(_OTHER)


def other_of(program: str) -> str:
    """Return the program that replaces this one."""
    return part_of(program) if program.endswith(_OTHER) else program + _OTHER


def current_programs(programs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the program of each part. If an interrupted restart left two, the older one has proved itself."""
    found: dict[str, str] = {}
    for program in sorted(programs, key=lambda program: _rank(programs[program]), reverse=True):
        # The best one is last.
        found[part_of(program)] = program
    return {part: found[part] for part in dict.fromkeys(map(part_of, programs))}


def current_parts(programs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the supervisor's record of each part: that of its current program."""
    return {part: programs[program] for part, program in current_programs(programs).items()}


def _rank(info: Mapping[str, Any]) -> tuple[bool, float]:
    return info["statename"] not in _GOES_ON, info["start"]


def programs_of(parts: Iterable[str], programs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the programs for parts: their current ones, else the first of the two."""
    current = current_programs(programs)
    return [current.get(part, part) for part in parts]
