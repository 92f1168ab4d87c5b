"""An interrupted `./just test` leaves no process, whoever has got the signal and whatever the tests have started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.console import INTERRUPTED
from deploy.native.processes import processes_with
from deploy.testing import ROOT

WITHIN_S = 60.0
TESTS = """
import os, signal, subprocess, sys, time
from pathlib import Path
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def server():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()
    (HERE / f"tidied-{os.getpid()}").touch()


def hang(deaf):
    # These are left behind, the second one even after SIGTERM.
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.Popen(["sh", "-c", "trap '' TERM INT; echo > deaf-child; while :; do sleep 600; done"], cwd=HERE,
                     start_new_session=True)
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not (HERE / "deaf-child").exists():
        time.sleep(0.01)
    (HERE / f"runs-{os.getpid()}").touch()
    time.sleep(600)


def test_one(server, pytestconfig):
    hang(deaf=(HERE / "is-deaf").exists())
"""


@pytest.fixture
def mark() -> str:
    """In the environment of the recipe and of all that it starts, which a test ends at the latest."""
    return f"ACKED_TEST_ROUNDS=1{os.getpid()}{time.monotonic_ns() % 10**6}"


def left_by(mark: str) -> dict[int, str]:
    return processes_with(lambda variables: mark.encode() in variables)


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def start(folder: Path, mark: str, *options: str, tidies_within_s: float = 60.0) -> "subprocess.Popen[bytes]":
    """Start the recipe over the tests in a folder, as the justfile does; return when a test runs."""
    (folder / "test_it.py").write_text(TESTS)
    program = (
        "import sys; from deploy import console, testing; "
        f"testing.TIDIES_WITHIN_S = {tidies_within_s}; testing.ENDS_WITHIN_S = 1.0; "
        "sys.exit(console.run('just test', lambda: testing.main(sys.argv[1:])))"
    )
    words = [str(folder / "test_it.py"), "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", *options]
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", program, *words],
        cwd=ROOT,
        env={**os.environ, name: value},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    until(lambda: process.poll() is not None or any(folder.glob("runs-*")))
    assert process.poll() is None, process.communicate()[0].decode()
    return process


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["pytest", "xdist"])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["recipe", "group"])
def test_interrupted_test_run_leaves_no_process(
    tmp_path: Path, mark: str, send: Callable[[int, int], None], options: tuple[str, ...]
) -> None:
    process = start(tmp_path, mark, *options)
    assert len(left_by(mark)) >= 4
    send(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == INTERRUPTED, said.decode()
    assert left_by(mark) == {}
    assert b"that the run has left" in said


def test_interrupted_recipe_lets_pytest_tidy(tmp_path: Path, mark: str) -> None:
    process = start(tmp_path, mark)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=WITHIN_S)
    assert len(list(tmp_path.glob("tidied-*"))) == 1


def test_test_run_deaf_to_interrupts_is_ended(tmp_path: Path, mark: str) -> None:
    (tmp_path / "is-deaf").touch()
    process = start(tmp_path, mark, tidies_within_s=1.0)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == INTERRUPTED, said.decode()
    assert left_by(mark) == {}
