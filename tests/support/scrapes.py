"""Scrapes a stack as Prometheus does: the processes of its shipped file of targets, each by its own address."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from deploy.observed import TARGETS, TargetGroup, observed
from support.stacks import TestStack

Labels: TypeAlias = frozenset[tuple[str, str]]
Scrape: TypeAlias = Mapping[tuple[str, Labels], float]
"""The values of one process by name and labels."""

ANSWERS_WITHIN_S = 10.0


def targets(stack: TestStack) -> list[TargetGroup]:
    """Return what the file says now."""
    groups: list[TargetGroup] = json.loads((observed(stack.stack.layout.state) / TARGETS).read_text())
    return groups


def addresses(stack: TestStack) -> dict[str, str]:
    """Return the processes by their addresses."""
    return {group["targets"][0]: group["labels"]["process"] for group in targets(stack)}


def exposition(address: str) -> str:
    """Return what a process exposes. Raise `OSError` if it does not respond."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=ANSWERS_WITHIN_S) as response:
        text: str = response.read().decode()
        return text


def total(scrapes: Iterable[Scrape], metric: str, /, **labels: str) -> float:
    """Return the sum of all series of a metric that have these labels."""
    wanted = labels.items()
    return sum(
        value
        for scrape in scrapes
        for (name, has), value in scrape.items()
        if name == metric and wanted <= dict(has).items()
    )


@dataclass(slots=True)
class Watch:
    """Scrapes again and again, and notes each counter that falls."""

    rounds: int = 0
    fallen: list[str] = field(default_factory=list)
    newest: dict[str, Scrape] = field(default_factory=dict)
    """By address; a process keeps its last values."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """The names of Acked's own metrics by service."""

    def scrape(self, stack: TestStack) -> list[Scrape]:
        """Scrape every target once; one that has just gone is left out."""
        found = []
        for group in targets(stack):
            address, service = group["targets"][0], group["labels"]["service"]
            try:
                text = exposition(address)
            except OSError:
                # It left the file a moment later; or `all_answer` says so.
                continue
            found.append(self._note(address, service, text))
        self.rounds += 1
        return found

    def _note(self, address: str, service: str, text: str) -> Scrape:
        values: dict[tuple[str, Labels], float] = {}
        before = self.newest.get(address, {})
        for family in text_string_to_metric_families(text):
            if family.name.startswith("acked_"):
                full = f"{family.name}_total" if family.type == "counter" else family.name
                self.names.setdefault(service, set()).add(full)
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                values[key] = sample.value
                if family.type in ("counter", "histogram") and sample.value < before.get(key, 0.0):
                    self.fallen.append(f"{address} {sample.name}{dict(key[1])}: {before[key]} → {sample.value}")
        # A series that is gone has fallen too.
        self.fallen += [
            f"{address} {name}{dict(labels)}: gone"
            for name, labels in before.keys() - values.keys()
            if name.startswith("acked_") and name.endswith(("_total", "_bucket", "_count", "_sum"))
        ]
        self.newest[address] = values
        return values


def all_answer(stack: TestStack) -> bool:
    """Whether every target of the file responds."""
    try:
        return all(exposition(address) for address in addresses(stack))
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False
