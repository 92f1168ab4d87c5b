"""Every name in `deploy/observe` is one that Acked exposes, with labels that it has; every alert has a runbook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deploy.observed import SHIPPED
from support.documented_metrics import rows

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs/operate.md"

OF_TARGETS = {"service", "process", "job", "instance", "le"}
"""Labels that a scrape adds, and that of buckets."""
OF_PROMETHEUS = {"process_resident_memory_bytes"}
EIGHT = 8

_SELECTOR = re.compile(r"\b((?:acked|process|python)_[a-z_]+)\s*(?:\{([^}]*)\})?")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SUFFIXES = ("_bucket", "_sum", "_count")


def exposed() -> dict[str, set[str]]:
    """The labels of every metric, by the names that a scrape stores."""
    found: dict[str, set[str]] = {}
    for metric, _ in rows():
        names = [metric.name + suffix for suffix in _SUFFIXES] if metric.type == "histogram" else [metric.name]
        found |= {name: set(metric.labels) for name in names}
    return found


def faults(expression: str) -> list[str]:
    """What an expression names that no process exposes."""
    known, found, named = exposed(), [], set[str]()
    for name, matchers in _SELECTOR.findall(expression):
        if name in OF_PROMETHEUS:
            continue
        if name not in known:
            found.append(name)
            continue
        named |= known[name]
        found += [f"{name}{{{label}}}" for label in _LABEL.findall(matchers) if label not in known[name] | OF_TARGETS]
    for group in _GROUPED.findall(expression):
        found += [label for label in re.findall(r"\w+", group) if label not in named | OF_TARGETS]
    return found


def alerts() -> list[dict[str, Any]]:
    """The rules of alerts.yml."""
    groups = yaml.safe_load((SHIPPED / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression of each line of the dashboard, and the query of its variable."""
    dashboard = json.loads((SHIPPED / "grafana.json").read_text())
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable["query"]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_names_what_is_exposed_and_shows_labels_that_it_has(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"]) == []
    shown = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    kept = re.search(r"by \(([^)]*)\)", rule["expr"])
    assert set(shown) <= set(re.findall(r"\w+", kept[1] if kept else ""))


@pytest.mark.parametrize(("title", "expression"), list(panels()))
def test_a_panel_names_what_is_exposed(title: str, expression: str) -> None:
    assert faults(expression) == [], title


def test_a_wrong_name_is_noticed() -> None:
    assert faults("rate(acked_job_accepted_total[5m])") == ["acked_job_accepted_total"]
    assert faults('sum by (kind) (acked_workers{knd="a"})') == ["acked_workers{knd}"]
    assert faults("sum by (knd) (acked_workers)") == ["knd"]
    assert faults("acked_job_wait_seconds") == ["acked_job_wait_seconds"]
    assert faults("sum by (kind, le) (rate(acked_job_wait_seconds_bucket[5m]))") == []
    assert len(list(panels())) >= 20


def test_there_are_eight_alerts_and_each_has_a_runbook_of_its_name() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) == EIGHT
    for rule in alerts():
        file, _, section = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / file, section) == (RUNBOOKS, rule["alert"].lower())
    text = RUNBOOKS.read_text()
    assert re.findall(r"^### (Acked\w+)$", text, re.MULTILINE) == names
    for section in re.split(r"^### (?=Acked)", text, flags=re.MULTILINE)[1:]:
        headings = re.findall(r"^\*\*(Meaning:|Diagnosis|Mitigation)\*\*", section, re.MULTILINE)
        assert headings == ["Meaning:", "Diagnosis", "Mitigation"], section[:40]


def _blank(path: str) -> str:
    """A path without the names of what stands in it."""
    return re.sub(r"<\w+>|\{\w+\}", "*", path)


def test_commands_of_runbooks_exist() -> None:
    text = RUNBOOKS.read_text()
    recipes = set(re.findall(r"^([a-z][a-z-]*)(?: \*\w+)*:", (ROOT / "justfile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\./just ([a-z][a-z-]*)", text))
    assert named
    assert named <= recipes
    names = (ROOT / "tests/architecture/public_names.txt").read_text()
    routes = {(method, _blank(path)) for method, path in re.findall(r"^route \w+ (\w+) (\S+)", names, re.MULTILINE)}
    for options, path in re.findall(r"curl ([^`]*?)'?localhost:\d+(/[^'`?\s]*)", text):
        method = "POST" if "-X POST" in options else "GET"
        assert (method, _blank(path)) in routes, (method, path)


def test_every_alert_is_tested() -> None:
    tested = yaml.safe_load((SHIPPED / "alerts_test.yml").read_text())["tests"]
    fires = {one["alertname"] for test in tested for one in test["alert_rule_test"] if one["exp_alerts"]}
    quiet = {one["alertname"] for test in tested for one in test["alert_rule_test"] if not one["exp_alerts"]}
    assert fires == quiet == {rule["alert"] for rule in alerts()}
