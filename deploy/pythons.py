"""Run tests on the other supported Pythons of this machine: `python -m deploy.pythons [folder …]`.

`./just test` runs everything on the Python of `.venv`. Services are also run on the system's own Python and on newer
ones, so unit tests run on each of those, and contract tests on one. A missing Python is named; it is no failure.
Each gets an environment in `.acked/pythons` with the packages of requirements.lock, by the code that makes `.venv`.

Two runs of a folder go side by side, and each Python begins with another folder: unit tests compute while contract
tests wait for servers. The output of a run is printed when it ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import console, testing

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".acked" / "pythons"
SYSTEM = Path("/usr/bin/python3")
"""On Debian 12 this is 3.11.2, the oldest Python that services run on."""
OWN = ".".join(map(str, sys.version_info[:3]))
"""The version of the Python of `.venv`."""
OLDEST = (3, 11)
NEWER = ("3.12", "3.13")
USUAL = (
    *("unit", "contracts"),
    # How much MongoDB works is the same from every Python.
    "--ignore-glob=*_work.py",
    # The tools that run tests run on the Python of `.venv` only.
    *(f"--ignore-glob=*/unit/{tools}" for tools in ("mutants/*", "deploy/test_testing*.py", "deploy/test_coverage.py")),
)
"""What runs where nothing else is asked for."""
ON_ONE = frozenset({"contracts"})
"""Of these, what runs on one Python only; `./just test full` runs it on each. Contracts are about servers, and take
half of the time."""
SIDE_BY_SIDE = 2
PROCESSES = 2
"""Of each run. Another one would collect all tests again, and start servers of its own, on cores that are busy."""
POLL_S = 0.1
ANSWERS_WITHIN_S = 10.0
_SAY_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


@dataclass(frozen=True, slots=True)
class Found:
    """A Python of this machine."""

    program: Path
    version: str


@dataclass(frozen=True, slots=True)
class FolderRun:
    """One folder on one Python; `program` is that of its environment."""

    python: Found
    program: Path
    folder: str


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


def far_end(pythons: Collection[Found], own: str) -> Found | None:
    """Return the oldest Python, or the newest where the one of `.venv`, `own`, is older than all of them."""
    oldest = min(pythons, key=lambda python: numbers(python.version), default=None)
    if oldest is None or numbers(oldest.version) < numbers(own):
        return oldest
    return max(pythons, key=lambda python: numbers(python.version))


def runs(
    programs: Mapping[Found, Path], folders: Sequence[str], on_one: Collection[str] = (), own: str = OWN
) -> list[FolderRun]:
    """Return all runs in the order of their start: each Python begins one folder behind the one before it.

    Folders of `on_one` run on the `far_end` from `own` only.
    """
    one_alone = far_end(programs, own)
    planned = [
        FolderRun(python, program, folders[(first + turn) % len(folders)])
        for turn in range(len(folders))
        for first, (python, program) in enumerate(programs.items())
    ]
    return [one for one in planned if one.python == one_alone or one.folder not in on_one]


def finished(
    waiting: Sequence[FolderRun], options: Sequence[str]
) -> Generator[tuple[FolderRun, int, float], None, None]:
    """Run all and yield each with its exit code and its seconds when it has ended and its output is printed.

    An interrupt is passed on to those that run, and raised when they have stopped their servers.
    """
    left = list(waiting)
    running: dict[subprocess.Popen[bytes], tuple[FolderRun, float, Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while left or running:
                while left and len(running) < SIDE_BY_SIDE:
                    one, output = left.pop(0), Path(folder) / str(len(left))
                    words = [str(one.program), "-m", "deploy.testing", one.folder]
                    if one.folder in testing.SIDE_BY_SIDE:
                        words.append(f"--numprocesses={PROCESSES}")
                    with output.open("wb") as file:
                        process = subprocess.Popen([*words, *options], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
                    running[process] = (one, time.monotonic(), output)
                time.sleep(POLL_S)
                for process in [process for process in running if process.poll() is not None]:
                    one, started, output = running.pop(process)
                    print(f"== Python {one.python.version} ({one.python.program}): {one.folder}", flush=True)
                    print(output.read_text(errors="replace"), flush=True)
                    yield one, int(process.returncode), time.monotonic() - started
        finally:
            for process in running:
                process.send_signal(signal.SIGINT)
            for process in running:
                process.wait()


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run folders on each Python, or the usual ones, and print how long each took; return the first exit code that is
    not 0."""
    folders, options = testing.folders_to_run(words or USUAL, testing.known_folders(testing.TESTS))
    pythons, lines = find(environ, covered=[OWN])
    failed = 0
    programs: dict[Found, Path] = {}
    for python in pythons:
        try:
            programs[python] = prepare(python)
        except subprocess.CalledProcessError as error:
            failed = failed or error.returncode
            lines.append(f"Python {python.version}: NOT PREPARED, see above")
    codes: dict[Found, list[int]] = {python: [] for python in programs}
    took: dict[Found, list[str]] = {python: [] for python in programs}
    for one, code, took_s in finished(runs(programs, folders, () if words else ON_ONE), options):
        codes[one.python].append(code)
        took[one.python].append(f"{one.folder} {took_s:.1f} s")
        failed = failed or code
    for python in programs:
        outcome = "FAILED" if any(codes[python]) else "passed"
        lines.append(f"Python {python.version}: {outcome} in {', '.join(took[python])}")
    print("\n".join(lines), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(console.run("just test pythons", lambda: run(sys.argv[1:], os.environ)))
