"""The shipped configuration of Prometheus is valid, and each alert fires for its fault: checked by promtool."""

import re
import shutil
from pathlib import Path

import pytest

from deploy.observed import SHIPPED, write_targets
from support.promtool import promtool

RULES = (SHIPPED / "alerts.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_the_configuration_and_the_rules_are_valid(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(SHIPPED / name, tmp_path)
    write_targets(tmp_path, [])
    code, said = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert (code, "WARNING" in said) == (0, False), said
    code, said = promtool("check", "rules", str(tmp_path / "alerts.yml"))
    assert (code, f"{len(ALERTS)} rules found" in said) == (0, True), said


def test_each_alert_fires_for_its_fault() -> None:
    code, said = promtool("test", "rules", str(SHIPPED / "alerts_test.yml"))
    assert code == 0, said


@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_notice_an_alert_that_does_not_fire(alert: str, tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "alerts_test.yml", tmp_path)
    changed = RULES.replace(f"- alert: {alert}\n", f"- alert: {alert}Not\n")
    assert changed != RULES
    (tmp_path / "alerts.yml").write_text(changed)
    code, said = promtool("test", "rules", str(tmp_path / "alerts_test.yml"))
    assert (code, f"alertname: {alert}" in said) == (1, True), said
