"""Which Pythons of a machine the tests run on, and what is said of those that it does not have."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import pythons
from deploy.pythons import FolderRun, Found, candidates, find, finished, run, runs, version_of


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
    assert "Python 3.11.99: passed in unit " in out
    assert "Python 3.13.99: FAILED in unit " in out
    assert "Python 3.12: not on this machine" in out


def test_each_folder_runs_once_on_each_python_and_neighbours_differ() -> None:
    programs = {Found(Path(name), name): Path(name) for name in ("3.11.2", "3.12.1", "3.13.0")}
    found = [(one.python.version, one.folder) for one in runs(programs, ["unit", "contracts"])]
    assert len(found) == len(set(found)) == 6
    assert {folder for _, folder in found[:2]} == {"unit", "contracts"}
    assert [version for version, _ in found] == ["3.11.2", "3.12.1", "3.13.0"] * 2


@pytest.mark.parametrize(("own", "far"), [("3.11.7", "3.11.2"), ("3.14.0", "3.11.2"), ("3.11.1", "3.13.0")])
def test_contracts_run_on_the_python_furthest_from_ours_unless_asked_for(own: str, far: str) -> None:
    programs = {Found(Path(version), version): Path(version) for version in ("3.12.1", "3.11.2", "3.13.0")}
    found = {(one.python.version, one.folder) for one in runs(programs, ["unit", "contracts"], {"contracts"}, own)}
    assert found == {("3.12.1", "unit"), ("3.11.2", "unit"), ("3.13.0", "unit"), (far, "contracts")}


def test_runs_go_side_by_side_and_print_their_output_whole(
    machine: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pythons, "SYSTEM", fake(tmp_path / "usr" / "python3", "3.11.99"))
    here = tmp_path / "here"
    here.mkdir()
    program = tmp_path / "both"
    # Each ends when it has met the other one.
    program.write_text(
        "#!/bin/sh\n"
        f'touch "{here}/$3"\n'
        f'echo "$3 begins"\nwhile [ ! -e "{here}/unit" ] || [ ! -e "{here}/contracts" ]; do sleep 0.01; done\n'
        'echo "$3 ends with $4 $5"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(pythons, "prepare", lambda python: program)
    assert run(["unit", "contracts", "--ignore-glob=x"], machine) == 0
    out = capfd.readouterr().out
    for folder in ("unit", "contracts"):
        assert f"{folder} begins\n{folder} ends with --numprocesses=2 --ignore-glob=x\n" in out


def test_an_interrupt_reaches_what_runs_and_waits_for_its_end(tmp_path: Path) -> None:
    program = tmp_path / "program"
    # A shell could not catch a signal that is ignored where this test runs.
    program.write_text(
        f"#!{sys.executable} -IS\n"
        "import pathlib, signal, sys, time\n"
        "here, folder = pathlib.Path(__file__).parent, sys.argv[3]\n"
        "def tidy(*_):\n    (here / 'tidied').touch()\n    sys.exit()\n"
        "signal.signal(signal.SIGINT, tidy)\n"
        "(here / folder).touch()\n"
        "while folder == 'contracts' or not (here / 'contracts').exists():\n    time.sleep(0.01)\n"
    )
    program.chmod(0o755)
    python = Found(program, "3.11.99")
    found = finished([FolderRun(python, program, folder) for folder in ("unit", "contracts")], [])
    one, code, _ = next(found)
    assert (one.folder, code) == ("unit", 0)
    assert not (tmp_path / "tidied").exists()
    found.close()
    assert (tmp_path / "tidied").exists()
