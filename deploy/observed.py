"""OWNER of the folder `observe` of a stack: what Prometheus needs to scrape it, one target a process.

`targets.json` is for Prometheus' `file_sd_configs`. Beside it are copies of the shipped configuration and rules, so
that their relative paths lead to the targets of this very stack.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

SHIPPED = Path(__file__).resolve().parent / "observe"
COPIED = ("prometheus.yml", "alerts.yml")
TARGETS = "targets.json"


def observed(state: Path) -> Path:
    """Return the folder of the stack with this state folder."""
    return state / "observe"


class TargetGroup(TypedDict):
    """One process as Prometheus reads it."""

    targets: list[str]
    labels: Mapping[str, str]


def target_group(address: str, *, service: str, process: str) -> TargetGroup:
    """Return the group of one process. `address` is a host and a port."""
    return {"targets": [address], "labels": {"service": service, "process": process}}


def write_targets(folder: Path, groups: Iterable[TargetGroup]) -> None:
    """Replace the targets, if they differ: a reader finds the old ones or all new ones."""
    _replace(folder / TARGETS, json.dumps(list(groups), indent=1) + "\n")


def copy_shipped(folder: Path) -> None:
    """Copy the shipped configuration and rules, if they differ."""
    for name in COPIED:
        _replace(folder / name, (SHIPPED / name).read_text())


def _replace(file: Path, text: str) -> None:
    try:
        if file.read_text() == text:
            return
    except OSError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    fresh.write_text(text)
    fresh.replace(file)
