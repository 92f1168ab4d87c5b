"""No recipe ends with a traceback, whatever its terminal is like and whenever Ctrl-C comes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.console import INTERRUPTED

MYPY_INTERRUPTED = 2
"""mypy catches the signal itself."""

ROOT = Path(__file__).parents[3]
LINE = "waiting … für jemand 漢\n"


def recipe(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """A recipe's program, started as the justfile starts it."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True, **options
    )


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A stack that is down, with a log that no ASCII terminal can show."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "worker-1.log").write_text(LINE * 2000, encoding="utf-8")
    return {**os.environ, "ACKED_RUNTIME": "native", "ACKED_STATE_DIR": str(tmp_path)}


@pytest.mark.parametrize(
    "terminal", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_logs_on_an_ascii_terminal_show_every_line(environ: dict[str, str], terminal: dict[str, str]) -> None:
    process = recipe(["deploy.runtime", "logs", "-n", "3"], env={**environ, **terminal}, stdout=subprocess.PIPE)
    shown, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, b"")
    assert shown.count(b"waiting \\u2026 f\\xfcr jemand \\u6f22") == 3


def test_logs_to_a_full_disk_are_one_line(environ: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = recipe(["deploy.runtime", "logs", "-n", "1000"], env=environ, stdout=full)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.count(b"\n") == 1
    assert b"No space left on device" in complaint


def test_logs_without_a_standard_output_end_well(environ: dict[str, str]) -> None:
    command = f"exec {sys.executable} -m deploy.runtime logs >&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environ, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_logs_whose_reader_leaves_end_well(environ: dict[str, str]) -> None:
    reading, writing = os.pipe()
    process = recipe(["deploy.runtime", "logs", "-n", "2000"], env=environ, stdout=writing)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy.runtime", "logs", "-f"],
        ["deploy.runtime", "up"],
        ["deploy.testing", "acceptance", "-k", "nothing"],
        ["deploy.lock", "--check"],
        ["deploy.console", "mypy"],
        ["deploy.console", "faults.soak", "--minutes", "1"],
        ["deploy.console", "benchmarks", "--quick"],
    ],
    ids=" ".join,
)
def test_interrupted_recipe_prints_no_traceback(environ: dict[str, str], arguments: list[str], tmp_path: Path) -> None:
    # With a warm cache mypy would end well before the interrupt comes.
    environ["MYPY_CACHE_DIR"] = str(tmp_path / "mypy")
    environ["PYTHONPATH"] = f"{ROOT / 'tests'}:{ROOT}"
    # Nothing that is not there yet is fetched or started in so short a time.
    for after_s in (0.0, 0.02, 0.1, 0.3):
        process = recipe(arguments, env=environ, stdout=subprocess.DEVNULL)
        time.sleep(after_s)
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            # As a person does where the first one came too early.
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
        _, complaint = process.communicate(timeout=30)
        assert b"Traceback" not in complaint, complaint.decode()
        assert b"Exception ignored" not in complaint, complaint.decode()
        assert process.returncode in (INTERRUPTED, -signal.SIGINT, MYPY_INTERRUPTED), complaint.decode()


@pytest.mark.parametrize(
    "lines",
    [
        # In a callback, where Python drops the exception: as in that of an import lock.
        ["import weakref", "class Lock: pass", "lock = Lock()", "seen = weakref.ref(lock, interrupt)", "del lock"],
        # Of a class that is being made: Python 3.11 turns it into a RuntimeError.
        ["class Field: __set_name__ = interrupt", "class Record: field = Field()"],
    ],
    ids=["callback", "set_name"],
)
def test_interrupt_that_python_hides_ends_the_program(lines: list[str]) -> None:
    program = [
        "import sys, time",
        "from deploy import console",
        "def interrupt(*_): raise KeyboardInterrupt",
        "def main():",
        *(f"    {line}" for line in lines),
        "    time.sleep(20)",
        "    return 0",
        "sys.exit(console.run('just it', main))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(program)], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (INTERRUPTED, b"just it: interrupted\n")


def test_error_that_is_no_interrupt_is_raised_on() -> None:
    program = "from deploy import console\ndef main(): raise RuntimeError('broken')\nconsole.run('just it', main)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(b"RuntimeError: broken\n")


def test_every_python_program_of_a_recipe_starts_behind_the_console() -> None:
    lines = [line.strip() for line in (ROOT / "justfile").read_text().splitlines() if '"{{ python }}"' in line]
    assert len(lines) >= 14
    modules = set()
    for line in lines:
        found = re.fullmatch(r"""@trap '' INT; (?:PYTHONPATH="[^"]+" )?exec "\{\{ python \}\}" -m ([\w.]+).*""", line)
        assert found is not None, line
        modules.add(found[1])
    for module in modules - {"deploy.console"}:
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert "sys.exit(console.run(" in source, module
