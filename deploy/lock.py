"""Write the lock files: every version pinned with its hashes, without the address of its index.

requirements.lock covers a checkout, deploy/requirements the image of each service, and tests/benchmarks/peers.lock the
systems that the benchmark compares, which no checkout installs.

`python -m deploy.lock --check` checks that they fit the pyproject files, `--upgrade` pins the newest versions.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy import console
from deploy.native.uv import uv_command

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "deploy" / "requirements"
BENCHMARKS = ROOT / "tests" / "benchmarks"
SERVICES = ("gateway", "intake", "worker")
LOCKS = {
    "all": ROOT / "requirements.lock",
    **{name: IMAGES / f"{name}.lock" for name in (*SERVICES, "build")},
    "peers": BENCHMARKS / "peers.lock",
}
MEMBERS = ("acked", "acked-cli", "acked-client", "acked-common", "acked-gateway", "acked-intake", "acked-worker")


def compile_lock(source: Path, into: Path, *, upgrade: bool, options: Sequence[str] = ()) -> None:
    """Write a lock; without `upgrade`, keep the versions that `into` pins already."""
    words = ["pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    words += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]
    for member in MEMBERS:
        words += ["--no-emit-package", member]
    words += ["--upgrade"] if upgrade else []
    # A folder or an extra index that holds one wheel of a release would leave its other hashes out.
    command, environment = uv_command([*words, *options, str(source), "--output-file", str(into)], whole_index=True)
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def compile_all(locks: Mapping[str, Path], *, upgrade: bool) -> None:
    """Write every lock; `locks` maps each to its path."""
    compile_lock(ROOT / "pyproject.toml", locks["all"], upgrade=upgrade, options=["--group", "dev"])
    pins = ["--constraint", str(locks["all"])]
    for service in SERVICES:
        compile_lock(ROOT / "services" / service / "pyproject.toml", locks[service], upgrade=upgrade, options=pins)
    compile_lock(IMAGES / "build.in", locks["build"], upgrade=upgrade)
    # The peers are served by what serves us.
    compile_lock(BENCHMARKS / "peers.in", locks["peers"], upgrade=upgrade, options=pins)


def main() -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="lock")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--upgrade", action="store_true")
    chosen = parser.parse_args()
    if not chosen.check:
        compile_all(LOCKS, upgrade=chosen.upgrade)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = {name: Path(folder) / f"{name}.lock" for name in LOCKS}
        for name, path in LOCKS.items():
            if path.exists():
                shutil.copy(path, fresh[name])
        compile_all(fresh, upgrade=False)
        for name, path in LOCKS.items():
            if not path.exists() or fresh[name].read_text() != path.read_text():
                print(f"{path.relative_to(ROOT)} does not fit the pyproject files: run ./just lock", file=sys.stderr)
                return 1
    print("the locks fit")
    return 0


if __name__ == "__main__":
    sys.exit(console.run("just lock", main))
