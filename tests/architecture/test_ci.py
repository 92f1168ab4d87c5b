"""`.ci/run` runs each test once, and fails with any of its steps; here over a recipe program that notes its words."""

import subprocess
from pathlib import Path

import pytest

from deploy import coverage, pythons, testing
from deploy.tiers import FULL
from support.order import LONGEST

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/ran"
echo "output of $*"
[ "$*" != "$FAILS" ]
"""
STEPS = (
    *("--prepare", "engine", "images-airgap", "browser", "promtool", "check"),
    *("test coverage", "test architecture", "test contracts integration acceptance"),
    *("test pythons", "test simulation", "test faults"),
)


def run(folder: Path, fails: str = "none") -> tuple[int, str, list[str]]:
    """Run the script in a folder; its exit code, its output, and the words of each recipe."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    (folder / "just").write_text(FAKE)
    (folder / "just").chmod(0o755)
    done = subprocess.run(
        ["bash", str(folder / ".ci" / "run")],
        env={"PATH": "/usr/bin:/bin", "FAILS": fails, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, (folder / "ran").read_text().splitlines()


def folders_of(step: str) -> list[str]:
    """The folders that a step runs on the Python of `.venv`."""
    recipe, *words = step.split()
    if recipe != "test" or words == ["pythons"]:
        return []
    if words == ["coverage"]:
        return [coverage.FOLDER]
    folders, options = testing.folders_to_run(words, testing.known_folders(testing.TESTS))
    assert options == [], step
    return folders


def test_ci_runs_each_folder_in_one_step(tmp_path: Path) -> None:
    code, said, steps = run(tmp_path)
    assert code == 0, said
    assert sorted(steps) == sorted(STEPS)
    found = [folder for step in steps for folder in folders_of(step)]
    assert sorted(found) == sorted(testing.known_folders(testing.TESTS))
    assert set(pythons.USUAL) & set(found) == {"unit", "contracts"}
    assert all(f"output of {step}\n" in said for step in STEPS)
    times = said.splitlines()[-len(STEPS) - 1 :]
    assert sorted(line.partition("./just ")[2] for line in times[:-1]) == sorted(STEPS)
    assert times[-1].endswith(" s  in all")


@pytest.mark.parametrize("step", STEPS)
def test_ci_fails_with_each_step(tmp_path: Path, step: str) -> None:
    code, said, steps = run(tmp_path, step)
    assert code == 1
    assert step in steps
    assert f"output of {step}\n" in said
    assert "in all" not in said


def test_ci_leaves_no_files(tmp_path: Path) -> None:
    run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".ci", "just", "ran"}


@pytest.mark.parametrize("folder", testing.ORDER)
def test_each_test_of_a_folder_is_in_one_of_its_runs_or_long(folder: str) -> None:
    found = testing.passes(folder, [])
    chosen = [options[options.index("-m") + 1] for options in found if "-m" in options]
    assert (len(found), chosen) in ((1, []), (2, ["not alone and not long", "alone and not long"]))
    assert any(part.arguments == ("integration", "acceptance", "faults", "-m", "long") for part in FULL)


def test_the_longest_modules_are_there() -> None:
    assert LONGEST.keys() == testing.MODULES_SIDE_BY_SIDE.keys()
    for folder, modules in LONGEST.items():
        assert len(set(modules)) == len(modules)
        assert [name for name in modules if not (testing.TESTS / folder / name).is_file()] == []
