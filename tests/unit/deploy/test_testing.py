"""Which folders `./just test` runs, and what a skipped test means."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.pythons import USUAL
from deploy.testing import (
    NO_TESTS_FOUND,
    ROOT,
    first_failure,
    folders_to_run,
    known_folders,
    names_tests,
    passes,
    run_folder,
    skipped_tests,
)

KNOWN = ["unit", "integration", "faults"]


@pytest.mark.parametrize(
    ("words", "folders", "options"),
    [
        ([], ["unit", "integration"], []),
        (["unit"], ["unit"], []),
        (["faults", "unit"], ["faults", "unit"], []),
        (["unit", "unit"], ["unit"], []),
        (["-x"], ["unit", "integration"], ["-x"]),
        (["unit", "-k", "a b"], ["unit"], ["-k", "a b"]),
        (["-k", "unit"], ["unit", "integration"], ["-k", "unit"]),
    ],
)
def test_folders_come_first_then_options(words: Sequence[str], folders: list[str], options: list[str]) -> None:
    assert folders_to_run(words, KNOWN) == (folders, options)


@pytest.mark.parametrize(
    ("words", "are_tests"),
    [
        (["unit", "-x"], False),
        (["tests/unit/test_a.py", "-x"], True),
        (["test_a.py::test_b"], True),
        (["unit", "--ignore-glob=*/deploy/*"], False),
        ([*USUAL], False),
    ],
)
def test_paths_and_ids_go_to_pytest_and_options_do_not(words: Sequence[str], are_tests: bool) -> None:
    assert names_tests(words) is are_tests


def test_an_empty_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "architecture").mkdir()
    (tmp_path / "unit" / "deep").mkdir(parents=True)
    (tmp_path / "unit" / "deep" / "test_one.py").touch()
    assert known_folders(tmp_path) == ["unit"]


def test_skipped_tests_are_found_and_expected_failures_are_none() -> None:
    report = """<testsuites><testsuite>
      <testcase classname="a" name="runs"/>
      <testcase classname="a" name="left_out"><skipped type="pytest.skip" message="no servers"/></testcase>
      <testcase classname="a" name="expected"><skipped type="pytest.xfail" message="later"/></testcase>
    </testsuite></testsuites>"""
    assert skipped_tests(report) == ["a.left_out: no servers"]


@pytest.mark.parametrize(("ci", "code"), [(True, 1), (False, 0)])
def test_in_ci_a_skipped_test_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: bool, code: int
) -> None:
    (tmp_path / "architecture").mkdir()
    (tmp_path / "architecture" / "test_it.py").write_text(
        "import pytest\ndef test_passes(): assert True\ndef test_skips(): pytest.skip('no reason')\n"
    )
    monkeypatch.setattr("deploy.testing.TESTS", tmp_path)
    monkeypatch.setattr("deploy.testing.SIDE_BY_SIDE", {})
    result = run_folder("architecture", ["-q", "-p", "no:cacheprovider"], ci=ci)
    assert result.code == code
    assert len(result.skipped) == 1
    assert result.skipped[0].endswith("test_skips: no reason")


def failing(runs: dict[str, int]) -> str:
    """A module whose tests fail so often before they pass."""
    counted = (
        "from pathlib import Path\n"
        "def run_of(name):\n"
        "    runs = Path(name)\n"
        "    runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\n"
        "    return len(runs.read_text())\n"
    )
    return counted + "".join(
        f"def test_{name}():\n    assert run_of({name!r}) > {failures}\n" for name, failures in runs.items()
    )


@pytest.mark.parametrize(
    ("folder", "runs", "code", "unstable"),
    [
        ("faults", {"a": 0, "b": 1, "c": 1}, 0, ["b", "c"]),
        ("faults", {"a": 2}, 1, []),
        ("faults", {"a": 1, "b": 1, "c": 1, "d": 1}, 1, []),
        ("unit", {"a": 1}, 1, []),
    ],
)
def test_a_few_tests_of_servers_that_fail_run_again_and_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    runs: dict[str, int],
    code: int,
    unstable: list[str],
) -> None:
    module = tmp_path / "tests" / folder / "test_it.py"
    module.parent.mkdir(parents=True)
    module.write_text(failing(runs))
    (tmp_path / "pytest.ini").touch()
    monkeypatch.setattr("deploy.testing.ROOT", tmp_path)
    monkeypatch.setattr("deploy.testing.TESTS", tmp_path / "tests")
    monkeypatch.setattr("deploy.testing.passes", lambda name, options: [["-p", "no:cacheprovider"]])
    # Programs start in the root, and load no plugin here, so that they start soon.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    result = run_folder(folder, [], ci=True)

    assert result.code == code
    assert result.unstable == [f"tests/{folder}/test_it.py::test_{name}" for name in unstable]


def test_modules_run_side_by_side_and_what_must_be_alone_follows() -> None:
    beside, alone = passes("acceptance", [])
    assert {"--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"} <= set(beside)
    assert beside[-2:] == ["-m", "not alone and not long"]
    assert alone == ["-m", "alone and not long"]
    assert passes("acceptance", ["-k", "feed"]) == [["-k", "feed"]]


@pytest.mark.parametrize(
    ("codes", "may_be_empty", "code"),
    [
        ([0], False, 0),
        ([0, 0], False, 0),
        ([0, 1], False, 1),
        ([2, 1], False, 2),
        ([0, NO_TESTS_FOUND], False, 0),
        ([NO_TESTS_FOUND, 1], False, 1),
        ([NO_TESTS_FOUND], True, 0),
        ([NO_TESTS_FOUND, NO_TESTS_FOUND], False, NO_TESTS_FOUND),
    ],
)
def test_a_folder_fails_with_its_first_failure(codes: list[int], may_be_empty: bool, code: int) -> None:
    assert first_failure(codes, may_be_empty=may_be_empty) == code


def test_a_run_leaves_the_folders_of_failed_tests_alone(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def server(tmp_path_factory):\n"
        "    folder = tmp_path_factory.mktemp('server')\n"
        "    (folder / 'data').write_text('x')\n"
        "def test_passes(server, tmp_path):\n"
        "    (tmp_path / 'passed').write_text('x')\n"
        "def test_may_fail(server, tmp_path, pytestconfig):\n"
        "    (tmp_path / 'failed').write_text('x')\n"
        "    assert not pytestconfig.getoption('-k')\n"
    )
    environ = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    words = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]

    def left(*options: str) -> set[str]:
        subprocess.run([*words, *options, str(tmp_path / "test_it.py")], env=environ, capture_output=True, cwd=tmp_path)
        return {file.name for file in tmp_path.glob("pytest-of-*/**/*") if file.is_file() and not file.is_symlink()}

    assert left() <= {".lock"}
    found = left("-k", "passes or fail")
    assert {"failed", "data"} <= found
    assert "passed" not in found


def test_check_leaves_files_of_users_alone_and_the_example_fits() -> None:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    ours = subprocess.run([*ruff, "check", "--show-files", "."], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = [Path(line).relative_to(ROOT).parts[0] for line in ours.stdout.splitlines() if line.startswith("/")]
    assert "deploy" in shown
    assert "handlers" not in shown
    example = (ROOT / "handlers" / "hello.py.example").read_bytes()
    # Docstrings are the user's own business.
    for words in (["check", "--ignore=D1"], ["format", "--check"]):
        # Under the name of a file that is checked.
        done = subprocess.run([*ruff, *words, "--stdin-filename", "deploy/hello.py", "-"], cwd=ROOT, input=example)
        assert done.returncode == 0, words
