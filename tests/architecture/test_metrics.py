"""docs/metrics.md against the metrics in the sources, and against what each service exposes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.documented_metrics import DOCUMENT, SERVICES, Metric, rows

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("libs", "services") for path in (ROOT / folder).rglob("src/**/*.py"))
TYPES = {
    **{name: name.lower() for name in ("Counter", "Gauge", "Histogram", "Summary", "Info")},
    **{f"{name}MetricFamily": name.lower() for name in ("Counter", "Gauge", "Histogram", "Summary", "Info")},
    "LoopCounter": "counter",
    "LoopHistogram": "histogram",
    "ScrapedGauge": "gauge",
}
EXPOSED = """
import importlib, sys
from prometheus_client import REGISTRY
importlib.import_module(sys.argv[1])
print(*(family.name for family in REGISTRY.collect()))
"""


def full_name(name: str, type_: str) -> str:
    """The client library appends the suffix of counters where it is missing."""
    return f"{name.removesuffix('_total')}_total" if type_ == "counter" else name


def metrics_in(tree: ast.Module) -> list[Metric]:
    """The metrics that a module makes; their names and labels are literals or constants of the module."""
    constants = _constants(tree)

    def value(node: ast.expr) -> object:
        return constants.get(node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)

    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and len(node.args) >= 2):
            continue
        made = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        # A class that makes families of any name; what comes of it is compared with what each service exposes.
        if made not in TYPES or value(node.args[0]) is None:
            continue
        labels = node.args[2] if len(node.args) > 2 else None
        labels = next((keyword.value for keyword in node.keywords if keyword.arg in ("labels", "labelnames")), labels)
        named = () if labels is None else value(labels)
        assert isinstance(named, tuple | list)
        found.append(Metric(full_name(str(value(node.args[0])), TYPES[made]), TYPES[made], tuple(named)))
    return found


def _constants(tree: ast.Module) -> dict[str, object]:
    """Values of the names that a module assigns at its top, alone or as a tuple."""
    constants: dict[str, object] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                constants[target.id] = value
            elif isinstance(target, ast.Tuple):
                constants |= {name.id: part for name, part in zip(target.elts, value, strict=True)}  # type: ignore[attr-defined]
    return constants


def made() -> set[Metric]:
    """All metrics of the sources."""
    return {metric for path in SOURCES for metric in metrics_in(ast.parse(path.read_text(), str(path)))}


def test_every_metric_is_documented_and_no_other() -> None:
    assert {metric for metric, _ in rows()} == made()
    assert len(made()) >= 25


def test_a_metric_has_one_row() -> None:
    names = [metric.name for metric, _ in rows()]
    assert len(names) == len(set(names))
    mentioned = {name.removesuffix("_bucket") for name in re.findall(r"\b(acked_[a-z_]+)", DOCUMENT.read_text())}
    assert mentioned == set(names), "each name in the text has a row in the form of the others"


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_names_the_services_that_expose_a_metric(service: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", EXPOSED, f"acked_{service}.app"], capture_output=True, text=True, check=True, timeout=60
    )
    exposed = {name for name in found.stdout.split() if name.startswith("acked_")}
    said = {metric.name.removesuffix("_total") for metric, services in rows() if service in services}
    assert said == exposed


def test_metrics_are_found_however_they_are_made() -> None:
    source = """
_NAME, _LABELS = "acked_a", ("route", "status")
a = CounterMetricFamily(_NAME, "Help.", labels=_LABELS)
b = Counter("acked_b_total", "Help.", ["why"])
c = prometheus_client.Gauge("acked_c", "Help.")
d = collections.Counter("text")
"""
    assert metrics_in(ast.parse(source)) == [
        Metric("acked_a_total", "counter", ("route", "status")),
        Metric("acked_b_total", "counter", ("why",)),
        Metric("acked_c", "gauge", ()),
    ]
