"""The tables of docs/metrics.md: which metrics there are, of which type and labels, and which services expose them."""

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/metrics.md"
SERVICES = ("intake", "gateway", "worker")
ROW = re.compile(r"\| `(acked_[a-z_]+)` \| (\w+) \| ([^|]*) \| ([^|]*) \| ([^|]+) \|")


class Metric(NamedTuple):
    """A metric under the name that Prometheus stores."""

    name: str
    type: str
    labels: tuple[str, ...]


def rows() -> list[tuple[Metric, frozenset[str]]]:
    """What the document says: each metric, and the services that expose it."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        if match := ROW.fullmatch(line):
            name, type_, labels, services, _ = match.groups()
            by = SERVICES if services == "all" else services.split(", ")
            found.append((Metric(name, type_, tuple(re.findall(r"`(\w+)`", labels))), frozenset(by)))
    return found
