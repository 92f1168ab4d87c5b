"""Prometheus and its promtool, as `./just promtool` unpacks them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".acked" / "prometheus" / "usr" / "bin"


def program(name: str) -> Path:
    """Return the path of `promtool` or `prometheus`. Skip if there is none; fail instead with CI=true."""
    unpacked = UNPACKED / name
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        why = f"no {name}: ./just promtool unpacks it"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return Path(found)


def promtool(*words: str, given: str | None = None) -> tuple[int, str]:
    """Run promtool with `given` on its standard input; return its exit code and all that it prints."""
    done = subprocess.run(
        [program("promtool"), *words], input=given, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr
