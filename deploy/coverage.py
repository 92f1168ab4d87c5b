"""Run the unit tests under coverage and compare the result with the floor: `./just test coverage`.

It is a run of the unit tests like any other, so `.ci/run` has no second one: a test that fails, or is skipped with
CI=true, fails it.

The floor is `[tool.coverage.report] fail_under` in pyproject.toml: the last measurement, rounded down. It only rises: a
run that exceeds it by `SLACK` fails too, until the floor is raised.
"""

import math
import os
import sys
import tempfile
import tomllib
from pathlib import Path

from coverage import Coverage

from deploy import console, testing

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "unit"
UNDER = ("coverage", "run", "-m")
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


def report(file: Path) -> float:
    """Print the report of the processes that ran with `file` as COVERAGE_FILE; return the percentage in all."""
    measured = Coverage(data_file=str(file), config_file=str(ROOT / "pyproject.toml"))
    measured.combine()
    return measured.report()


def main() -> int:
    """Return the exit code: that of the tests, else 1 if the floor does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage"
        # Inherited by all that the tests start.
        os.environ["COVERAGE_FILE"] = str(file)
        tested = testing.run_folder(FOLDER, [], ci=os.environ.get("CI") == "true", under=UNDER)
        for test in tested.skipped:
            print(f"  skipped: {test}")
        if tested.code != 0:
            return tested.code
        measured = report(file)
    if wrong := judged(measured, floor()):
        print(f"just test coverage: {wrong}", file=sys.stderr)
        return 1
    print(f"unit tests reach {measured:.2f} %; the floor is {floor()} %")
    return 0


if __name__ == "__main__":
    sys.exit(console.run("just test coverage", main))
