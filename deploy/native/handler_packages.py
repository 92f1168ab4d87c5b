"""Install the packages of handlers: `requirements.txt` beside them, resolved together with Acked's own packages.

They go into the same environment. So a requirement that conflicts with Acked's own pins is refused, and nothing
is changed. An unchanged file installs nothing and needs no network. A package that is removed from the file is
uninstalled.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.native.layout import ROOT
from deploy.native.uv import uv_command

FILE = "requirements.txt"
LOCK = ROOT / "requirements.lock"
OWN = ROOT / "deploy" / "native" / "bootstrap.txt"
PYTHON = ROOT / ".venv" / "bin" / "python"
KEPT = ROOT / ".venv" / ".acked-handlers.json"
COMPLAINT_LINES = 25


class HandlerPackagesError(Exception):
    """Signal that packages of handlers can't be resolved or installed; the message says which, and why."""


def names_of(pins: str) -> set[str]:
    """Return the normalized names of the packages in lines such as `name==1.0`."""
    lines = (line.split("#")[0].strip() for line in pins.splitlines())
    words = (line.split("==")[0].split("[")[0].split(" @ ")[0].strip() for line in lines if line[:1].isalnum())
    return {word.lower().replace("_", "-").replace(".", "-") for word in words}


def constraints_of(locks: Iterable[str]) -> str:
    """Return the pins of lock files without their hashes."""
    lines = (line.removesuffix("\\").strip() for lock in locks for line in lock.splitlines() if line[:1].isalnum())
    return "".join(f"{line}\n" for line in lines)


class HandlerPackages:
    """The packages of one folder of handlers. Folders of several stacks share the environment of this checkout."""

    def __init__(self, folder: Path, *, kept: Path = KEPT, python: Path = PYTHON) -> None:
        self._folder = folder.resolve()
        self._file = folder / FILE
        self._kept = kept
        self._python = str(python)

    def install(self) -> list[str]:
        """Install what the file lists, if it or Acked's own pins have changed; return lines that report it.

        Raise `HandlerPackagesError`; then nothing has changed.
        """
        wanted = self._file.read_text() if self._file.is_file() else ""
        mark = hashlib.sha256("\0".join((sys.version, LOCK.read_text(), wanted)).encode()).hexdigest()
        with self._locked():
            known = self._known()
            before = known.get(str(self._folder), {"mark": "", "packages": [], "left": []})
            if before["mark"] == mark or not (before["mark"] or wanted.strip()):
                return []
            pins = self._resolved() if wanted.strip() else ""
            if wanted.strip():
                # From the file, which may name indexes, and to the versions that were found.
                pinned = self._beside("pins-of-handlers.txt", pins)
                words = ["pip", "install", "--quiet", "--python", self._python, "--constraint", pinned]
                self._run([*words, "--requirement", str(self._file)], "installed")
            packages = names_of(pins) - self._own()
            left = {*before["packages"], *before["left"]} - packages
            entry = {"mark": mark, "packages": sorted(packages), "left": sorted(left)}
            self._keep({**known, str(self._folder): entry})
        return [f"packages of handlers: {', '.join(sorted(packages)) or 'none any more'}"]

    def tidy(self) -> list[str]:
        """Remove packages that have left the file, once no process needs them; return lines that report it."""
        with self._locked():
            known = self._known()
            entry = known.get(str(self._folder))
            if entry is None or not entry["left"]:
                return []
            needed = self._own().union(*(other["packages"] for other in known.values()))
            if gone := sorted({*entry["left"]} - needed):
                self._run(["pip", "uninstall", "--quiet", "--python", self._python, *gone], "removed")
            self._keep({**known, str(self._folder): {**entry, "left": []}})
        return [f"packages of handlers removed: {', '.join(gone)}"] if gone else []

    def _own(self) -> set[str]:
        return names_of(LOCK.read_text()) | names_of(OWN.read_text())

    def _known(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._kept.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _keep(self, known: Mapping[str, Any]) -> None:
        fresh = self._kept.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(self._kept)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _resolved(self) -> str:
        words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", self._python]
        pinned = self._beside("pins-of-acked.txt", constraints_of([LOCK.read_text(), OWN.read_text()]))
        return self._run(
            [*words, "--constraint", pinned, str(self._file)],
            "resolved together with Acked's own dependencies, which are pinned with ==",
        )

    def _beside(self, name: str, text: str) -> str:
        file = self._kept.with_name(name)
        file.write_text(text)
        return str(file)

    def _run(self, words: Sequence[str], what: str) -> str:
        command, environ = uv_command(words)
        done = subprocess.run(command, cwd=self._folder, env=environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            complaint = "\n  ".join(done.stderr.strip().splitlines()[-COMPLAINT_LINES:])
            raise HandlerPackagesError(f"{self._file} can't be {what}:\n  {complaint}")
        return done.stdout


def tidy(packages: HandlerPackages, told: Callable[[str], object]) -> None:
    """Remove packages that have left the file. A failure is only reported: surplus packages do no harm."""
    try:
        for line in packages.tidy():
            told(line)
    except HandlerPackagesError as error:
        told(f"warning: {error}")
