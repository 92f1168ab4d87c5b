"""Run the unit tests under coverage and compare the result with the floor: `./just test coverage`.

The floor is `[tool.coverage.report] fail_under` in pyproject.toml: the last measurement, rounded down. It only rises: a
run that exceeds it by `SLACK` fails too, until the floor is raised.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from deploy import console

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 2
SLACK = 1.5
"""In percent. More than one, since which lines a race runs differs from run to run."""


def floor() -> int:
    """Return the share of statements and branches, in percent, that unit tests must reach."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return int(settings["tool"]["coverage"]["report"]["fail_under"])


def judged(measured: float, floor: int) -> str | None:
    """Return the problem of a measured percentage; None if it fits the floor."""
    if measured < floor:
        return f"unit tests reach {measured:.2f} %, less than the floor of {floor} %: add tests for what is new"
    if measured >= floor + SLACK:
        return f"unit tests reach {measured:.2f} %: raise fail_under in pyproject.toml to {math.floor(measured)}"
    return None


def main() -> int:
    """Return the exit code: that of the tests, else 1 if the floor does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "coverage")}
        coverage = [sys.executable, "-m", "coverage"]
        tests = ["-m", "pytest", "-q", f"--numprocesses={PROCESSES}", "--dist=worksteal", str(ROOT / "tests" / "unit")]
        code = subprocess.run([*coverage, "run", *tests], cwd=ROOT, env=environ, check=False).returncode
        if code != 0:
            return code
        subprocess.run([*coverage, "combine", "--quiet"], cwd=ROOT, env=environ, check=True)
        subprocess.run([*coverage, "report", "--fail-under=0"], cwd=ROOT, env=environ, check=True)
        report = Path(folder) / "report.json"
        subprocess.run(
            [*coverage, "json", "--quiet", "--fail-under=0", "-o", str(report)], cwd=ROOT, env=environ, check=True
        )
        measured = float(json.loads(report.read_text())["totals"]["percent_covered"])
    if wrong := judged(measured, floor()):
        print(f"just test coverage: {wrong}", file=sys.stderr)
        return 1
    print(f"unit tests reach {measured:.2f} %; the floor is {floor()} %")
    return 0


if __name__ == "__main__":
    sys.exit(console.run("just test coverage", main))
