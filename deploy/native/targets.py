"""Write the targets of a native stack for Prometheus, to `observe/targets.json` of its state folder.

A process chooses its port when it starts, and writes it into its run file. So the targets are rewritten whenever a
process may have changed: by each recipe at its end, and every few seconds by the supervisor, which restarts dead
processes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from acked_common.runtime.run_file import METRICS_SUFFIX
from deploy.native import readiness, rolling
from deploy.native.layout import Layout
from deploy.native.supervisor import SERVICES
from deploy.observed import TargetGroup, observed, target_group, write_targets


def native_targets(layout: Layout, pids: Mapping[str, int]) -> list[TargetGroup]:
    """Return the target of each service process that has written its port. `pids` are those of the programs.

    While a restart replaces `gateway-1`, two targets have that name: each is a process with counters of its own.
    """
    groups = []
    for program, pid in sorted(pids.items()):
        part = rolling.part_of(program)
        service = part.split("-", 1)[0]
        if service in SERVICES and (address := _address(layout, program, part, pid)) is not None:
            groups.append(target_group(address, service=service, process=part))
    return groups


def write_native_targets(layout: Layout, pids: Mapping[str, int]) -> None:
    """Replace the targets of the stack."""
    write_targets(observed(layout.state), native_targets(layout, pids))


def _address(layout: Layout, program: str, part: str, pid: int) -> str | None:
    """Where `/metrics` of this very process is: on the port that serves nothing else, or on the one of its health."""
    found = _told(layout.run_of(program) / f"{part}{METRICS_SUFFIX}", pid)
    if found is not None:
        return found
    port = readiness.health_port(layout, part, pid)
    return None if port is None else f"127.0.0.1:{port}"


def _told(file: Path, pid: int) -> str | None:
    try:
        record = json.loads(file.read_text())
        # The file of an earlier process is out of date.
        return str(record["address"]) if pid and record["pid"] == pid else None
    except (OSError, ValueError, KeyError):
        return None
