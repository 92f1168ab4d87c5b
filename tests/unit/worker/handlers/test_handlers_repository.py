"""The template of a repository of handlers, copied as its users do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).resolve().parents[4] / "docs" / "examples" / "handlers_repository"
LOADS = """
import sys
from pathlib import Path
from acked_worker.handlers.registry import load_kinds
print(*load_kinds([], Path(sys.argv[1])))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEMPLATE, tmp_path / "our-handlers"))


def run(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Without the settings of the run that this test is part of.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ACKED_"))}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=repository, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def test_tests_of_the_template_pass(repository: Path) -> None:
    done = run(repository, "-m", "pytest", "-q")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_worker_loads_the_template(repository: Path) -> None:
    done = run(repository, "-c", LOADS, "handlers")
    assert (done.returncode, done.stdout) == (0, "invoice.due\n"), done.stderr
