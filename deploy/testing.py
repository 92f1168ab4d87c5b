"""Runs the tests folder by folder and prints how long each took: `python -m deploy.testing [folder] [options]`."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
ORDER = ("architecture", "unit", "contracts", "integration", "acceptance", "faults")
ON_REQUEST = ("faults",)
NO_TESTS_FOUND = 5


def folders_to_run(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders and the options for pytest. Without a folder: all but those that run on request."""
    known = [name for name in ORDER if (TESTS / name).is_dir()]
    chosen = [word for word in words if word in known]
    options = [word for word in words if word not in known]
    return chosen or [name for name in known if name not in ON_REQUEST], options


def main(words: Sequence[str]) -> int:
    """The exit code: that of the first folder that failed."""
    if any("/" in word or "::" in word for word in words):
        return subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False).returncode
    folders, options = folders_to_run(words)
    lines: list[str] = []
    failed = 0
    for name in folders:
        started = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", "pytest", str(TESTS / name), *options], cwd=ROOT, check=False
        ).returncode
        code = 0 if code == NO_TESTS_FOUND and options else code
        lines.append(f"{name:<14} {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - started:6.1f} s")
        failed = failed or code
    print("\n".join(lines))
    if left_out := [name for name in ON_REQUEST if name not in folders]:
        print(f"not run, ask for it: {', '.join(f'./just test {name}' for name in left_out)}")
    if os.environ.get("CI") == "true":
        print("nothing else was left out")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
