"""Keeps requirements.lock: every version pinned with its hashes, no address of where it came from.

`python -m deploy.lock --check` tells whether it fits the pyproject files, `--upgrade` pins the newest versions.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.native.uv import uv_command

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
MEMBERS = ("acked", "acked-common", "acked-gateway", "acked-intake", "acked-worker")


def compile_lock(into: Path, *, upgrade: bool) -> None:
    """Writes the lock; without `upgrade` what is pinned in `into` already stays."""
    options = ["pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--group", "dev"]
    for member in MEMBERS:
        options += ["--no-emit-package", member]
    options += ["--upgrade"] if upgrade else []
    # A folder or an extra index that holds one wheel of a release would leave its other hashes out.
    command, environment = uv_command([*options, "pyproject.toml", "--output-file", str(into)], whole_index=True)
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="lock")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--upgrade", action="store_true")
    chosen = parser.parse_args()
    if not chosen.check:
        compile_lock(LOCK, upgrade=chosen.upgrade)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "requirements.lock"
        shutil.copy(LOCK, fresh)
        compile_lock(fresh, upgrade=False)
        if fresh.read_text() != LOCK.read_text():
            print("requirements.lock does not fit the pyproject files: run ./just lock", file=sys.stderr)
            return 1
    print("requirements.lock fits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
