"""A separate checkout that moves from one version of Acked to another and back, as an operator does."""

import logging
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.native.layout import ROOT, Layout, Ports
from support.stacks import PATIENT

log = logging.getLogger(__name__)

NAMED = ROOT / "tests" / "acceptance" / "version_before.txt"
CHOSEN = "ACKED_TEST_UPGRADE_FROM"
"""Overrides the commit of the previous version."""
RECIPE_WITHIN_S = 600.0


class NoVersionBefore(Exception):
    """This checkout lacks the previous version; the text says how to get it."""


def git(*words: str) -> str:
    """Run git in this checkout and return its output."""
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def version_before() -> str:
    """Return the commit of the previous version. Raise `NoVersionBefore`.

    It is the newest tag on an older commit than this one, else the commit in `version_before.txt`.
    """
    try:
        tags = git("tag", "--merged", "HEAD^", "--sort=-version:refname").splitlines()
        named = [line for line in NAMED.read_text().splitlines() if line and not line.startswith("#")]
        commit = os.environ.get(CHOSEN) or (tags or named)[0]
        return git("rev-parse", "--verify", f"{commit}^{{commit}}")
    except FileNotFoundError as error:
        raise NoVersionBefore(f"git is not there: {error}") from None
    except subprocess.CalledProcessError as error:
        raise NoVersionBefore(
            "the version before is not in this checkout, which is no clone or a shallow one: "
            f"git fetch --unshallow --tags\n{error.stderr}"
        ) from None


@dataclass(frozen=True, slots=True)
class Compatibility:
    """The compatibility of a version, from `deploy/compatibility.toml` and the store's schema."""

    state: int
    rolls_from: int
    schema: int

    def can_roll_to(self, newer: "Compatibility") -> bool:
        """Whether `./just restart` can upgrade to a newer version."""
        return self.state >= newer.rolls_from

    def can_come_back_from(self, newer: "Compatibility") -> bool:
        """Whether this version can use the data of a newer one."""
        return (self.state, self.schema) == (newer.state, newer.schema) and self.can_roll_to(newer)


def compatibility_of(tree: Path) -> Compatibility:
    """Read it from a checkout."""
    file = tree / "deploy" / "compatibility.toml"
    said: Mapping[str, int] = tomllib.loads(file.read_text()) if file.exists() else {}
    sources = [path.read_text() for path in (tree / "libs").rglob("schema.py")]
    (schema,) = {int(found) for text in sources for found in re.findall(r"^SCHEMA_VERSION = (\d+)$", text, re.M)}
    return Compatibility(said.get("state", 1), said.get("rolls_from", 1), schema)


class Checkout:
    """A folder that holds one version after another; its state folder, `.venv` and servers stay, as with `git`."""

    def __init__(self, folder: Path, ports: Ports, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.layout = Layout(folder / ".acked" / "native", ports)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ACKED_", "JUST_"))}
        self._environ = {
            **inherited,
            "ACKED_RUNTIME": "native",
            "ACKED_PORT_BASE": str(ports.base),
            **PATIENT,
            **environ,
        }
        self._files: set[Path] = set()

    def take_fetched(self) -> None:
        """Link the servers and the installer that this checkout has fetched."""
        bin_folder = self.folder / ".venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bin_folder.parent)], check=True)
        for name in ("uv", "just"):
            _link(str(ROOT / ".venv" / "bin" / name), str(bin_folder / name))
        fetched = ROOT / ".acked" / "servers"
        if fetched.is_dir():
            shutil.copytree(
                fetched,
                self.folder / ".acked" / "servers",
                symlinks=True,
                copy_function=_link,
                ignore=lambda folder, names: {"lock", "apt"} & set(names),
            )

    def use_commit(self, commit: str) -> None:
        """Check out a commit."""
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
        self._forget_others(git("ls-tree", "-r", "-z", "--name-only", commit))
        subprocess.run(["tar", "-x", "-C", str(self.folder)], input=archive, check=True)

    def use_present(self) -> None:
        """Use the files of this checkout as they are, committed or not."""
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
        for path in self._forget_others(names):
            if (ROOT / path).exists():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, self.folder / path)

    def _forget_others(self, names: str) -> Iterable[Path]:
        """Return the paths among `names`; delete files of the previous version that are not among them."""
        wanted = {Path(name) for name in names.split("\0") if name}
        for path in self._files - wanted:
            (self.folder / path).unlink()
        self._files = wanted
        return wanted

    def just(self, *words: str) -> str:
        """Run a recipe, which must succeed, and return its output."""
        started = time.monotonic()
        ran = subprocess.run(
            [str(self.folder / "just"), *words],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=RECIPE_WITHIN_S,
            check=False,
        )
        assert ran.returncode == 0, f"./just {' '.join(words)}: {ran.stdout}\n{ran.stderr}"
        log.info("./just %s: %.1f s", " ".join(words), time.monotonic() - started)
        return ran.stdout


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
