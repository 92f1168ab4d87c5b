"""Run tests on the other supported Pythons of this machine: `python -m deploy.pythons [folder …]`.

`./just test` runs everything on the Python of `.venv`. Services are also run on the system's own Python and on newer
ones, so unit and contract tests run on each of those. A missing Python is named; it is no failure.
Each gets an environment in `.acked/pythons` with the packages of requirements.lock, by the code that makes `.venv`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import console

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".acked" / "pythons"
SYSTEM = Path("/usr/bin/python3")
"""On Debian 12 this is 3.11.2, the oldest Python that services run on."""
OLDEST = (3, 11)
NEWER = ("3.12", "3.13")
USUAL = ("unit", "contracts", "--ignore-glob=*_work.py")
"""What runs where nothing else is asked for. How much MongoDB works is the same from every Python."""
ANSWERS_WITHIN_S = 10.0
_SAY_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


@dataclass(frozen=True, slots=True)
class Found:
    """A Python of this machine."""

    program: Path
    version: str


def version_of(program: Path) -> str | None:
    """Return the full version of a Python; None for a file that is none, such as a shim that selects no version."""
    try:
        done = subprocess.run(
            [str(program), "-c", _SAY_VERSION],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWERS_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def numbers(version: str) -> tuple[int, ...]:
    """Return a version in an order that sorts."""
    return tuple(int(part) for part in version.split("."))


def candidates(minor: str, environ: Mapping[str, str]) -> list[Path]:
    """Return where a Python such as 3.12 may be: on PATH, or the newest one that pyenv has installed."""
    on_path = shutil.which(f"python{minor}", path=environ.get("PATH"))
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME") or "/nonexistent") / ".pyenv")
    installed = [folder for folder in (pyenv / "versions").glob(f"{minor}.*") if folder.name.replace(".", "").isdigit()]
    installed.sort(key=lambda folder: numbers(folder.name), reverse=True)
    return [*([Path(on_path)] if on_path else []), *(folder / "bin" / f"python{minor}" for folder in installed)]


def find(environ: Mapping[str, str], covered: Iterable[str]) -> tuple[list[Found], list[str]]:
    """Return the Pythons to test on, and a line for each that is left out. `covered` versions are tested already."""
    found: dict[str, Found] = {}
    lines: list[str] = []
    covered = set(covered)
    for name, places in (("system", [SYSTEM]), *((minor, candidates(minor, environ)) for minor in NEWER)):
        usable = ((place, version) for place in places if (version := version_of(place)))
        place, version = next(usable, (None, ""))
        if place is None:
            lines.append(f"Python {name}: not on this machine, so nothing was tested on it")
        elif numbers(version) < OLDEST:
            lines.append(f"Python {name}: {version} is older than {'.'.join(map(str, OLDEST))}")
        elif version in covered or version in found:
            lines.append(f"Python {name}: {version} is tested already")
        else:
            found[version] = Found(place, version)
    return list(found.values()), lines


def prepare(python: Found) -> Path:
    """Make the environment of a Python, or leave one that is up to date; return its program."""
    folder = ENVIRONMENTS / python.version
    subprocess.run([str(ROOT / "just"), "--prepare", str(python.program), str(folder)], cwd=ROOT, check=True)
    return folder / "bin" / "python"


def run(folders: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the folders on each Python and print how long each took; return the first exit code that is not 0."""
    pythons, lines = find(environ, covered=[".".join(map(str, sys.version_info[:3]))])
    failed = 0
    for python in pythons:
        print(f"== Python {python.version} ({python.program}): {' '.join(folders)}", flush=True)
        started = time.monotonic()
        try:
            program = prepare(python)
        except subprocess.CalledProcessError as error:
            failed = failed or error.returncode
            lines.append(f"Python {python.version}: NOT PREPARED, see above")
            continue
        prepared_s = time.monotonic() - started
        code = subprocess.run([str(program), "-m", "deploy.testing", *folders], cwd=ROOT, check=False).returncode
        took_s = time.monotonic() - started
        outcome = "passed" if code == 0 else "FAILED"
        lines.append(f"Python {python.version}: {outcome} in {took_s:.1f} s, {prepared_s:.1f} s of them to prepare")
        failed = failed or code
    print("\n".join(lines), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(console.run("just test pythons", lambda: run(sys.argv[1:] or USUAL, os.environ)))
