"""Which Pythons of a machine the tests run on, and what is said of those that it does not have."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import pythons
from deploy.pythons import Found, candidates, find, run, version_of


def fake(path: Path, version: str, code: int = 0) -> Path:
    """A program that says its version as a Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine with a system's Python and none else: its environment."""
    monkeypatch.setattr(pythons, "SYSTEM", fake(tmp_path / "usr" / "python3", "3.11.2"))
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path / 'bin'}:/bin", "HOME": str(tmp_path)}


def test_version_of_a_real_python_is_its_own() -> None:
    assert version_of(Path(sys.executable)) == ".".join(map(str, sys.version_info[:3]))


def test_version_of_a_shim_without_a_version_is_none(tmp_path: Path) -> None:
    assert version_of(fake(tmp_path / "python3.12", "pyenv: no such command", code=127)) is None
    assert version_of(tmp_path / "none") is None


def test_pythons_that_are_missing_are_named(machine: Mapping[str, str], tmp_path: Path) -> None:
    found, lines = find(machine, covered=[])
    assert found == [Found(tmp_path / "usr" / "python3", "3.11.2")]
    assert lines == [f"Python {minor}: not on this machine, so nothing was tested on it" for minor in ("3.12", "3.13")]


def test_the_python_of_the_whole_run_is_not_tested_twice(machine: Mapping[str, str]) -> None:
    found, lines = find(machine, covered=["3.11.2"])
    assert found == []
    assert lines[0] == "Python system: 3.11.2 is tested already"


def test_a_system_with_a_python_that_is_too_old_says_so(
    machine: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythons, "SYSTEM", fake(tmp_path / "old" / "python3", "3.9.2"))
    assert find(machine, covered=[])[1][0] == "Python system: 3.9.2 is older than 3.11"


def test_pythons_of_pyenv_are_found_behind_a_shim_that_fails(machine: Mapping[str, str], tmp_path: Path) -> None:
    fake(tmp_path / "bin" / "python3.12", "pyenv: not found", code=127)
    versions = tmp_path / ".pyenv" / "versions"
    for version in ("3.12.1", "3.12.10", "3.12.9", "3.12-dev"):
        fake(versions / version / "bin" / "python3.12", version)
    assert candidates("3.12", machine)[1].parents[1].name == "3.12.10"
    found, _ = find(machine, covered=[])
    assert found[1] == Found(versions / "3.12.10" / "bin" / "python3.12", "3.12.10")


def test_a_python_on_path_comes_before_pyenv(machine: Mapping[str, str], tmp_path: Path) -> None:
    fake(tmp_path / "bin" / "python3.13", "3.13.7")
    fake(tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python3.13", "3.13.0")
    assert [python.version for python in find(machine, covered=[])[0]] == ["3.11.2", "3.13.7"]


def test_a_failure_on_one_python_fails_the_run(
    machine: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Not the version that runs this test, which would count as covered.
    monkeypatch.setattr(pythons, "SYSTEM", fake(tmp_path / "usr" / "python3", "3.11.99"))
    fake(tmp_path / "bin" / "python3.13", "3.13.99")
    monkeypatch.setattr(
        pythons, "prepare", lambda python: fake(tmp_path / python.version, "ran", int("13" in python.version))
    )
    assert run(["unit"], machine) == 1
    out = capfd.readouterr().out
    assert "Python 3.11.99: passed in" in out
    assert "Python 3.13.99: FAILED in" in out
    assert "Python 3.12: not on this machine" in out
