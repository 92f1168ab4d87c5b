"""A PostgreSQL of the run's own, where the machine has one: for DBOS. As shipped: it waits for its disk."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.processes import Child, Children, until

_READY_WITHIN_S = 20.0
_EMPTY = "TRUNCATE dbos.workflow_status CASCADE"
_EMPTY_ABSURD = "TRUNCATE absurd.t_bench, absurd.r_bench, absurd.c_bench, absurd.e_bench, absurd.w_bench"
_ABSURD = "absurd"
"""Its database."""


def programs() -> Path | None:
    """The folder with PostgreSQL's programs; None where it is not installed."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


class Postgres:
    """One cluster in a folder of its own; gone with the run."""

    def __init__(self, bin_folder: Path, port: int, children: Children) -> None:
        self._bin = bin_folder
        self._port = port
        self._children = children
        self._child: Child | None = None
        # Root may not run it, and another user may not come through the folders of root.
        self._user = None if os.getuid() else _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="acked-bench-pg-"))

    @property
    def url(self) -> str:
        """Of the database for DBOS, which makes it by itself."""
        return f"postgresql://bench@127.0.0.1:{self._port}/bench"

    @property
    def version(self) -> str:
        """What it says of itself."""
        done = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip().removeprefix("postgres (PostgreSQL) ")

    def start(self) -> None:
        """Returns when it answers."""
        if self._user is not None:
            os.chown(self._folder, self._user, self._user)
        data = self._folder / "data"
        environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self._folder)}
        made = subprocess.run(
            [
                str(self._bin / "initdb"),
                "--pgdata",
                str(data),
                "--username",
                "bench",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
            ],
            env=environ,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            group=self._user,
        )
        if made.returncode != 0:
            raise OSError(f"initdb failed: {made.stderr.strip()[-500:]}")
        command = [
            *(str(self._bin / "postgres"), "-D", str(data), "-p", str(self._port), "-k", str(self._folder)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
        ]
        child = self._child = self._children.start(
            "postgres", command, environ=environ, cwd=self._folder, user=self._user
        )
        until(lambda: self._answers(child), within_s=_READY_WITHIN_S, what="PostgreSQL answers")
        self._run(f"postgresql://bench@127.0.0.1:{self._port}/postgres", f"CREATE DATABASE {_ABSURD}")

    @property
    def absurd_url(self) -> str:
        """Of the database for Absurd."""
        return f"postgresql://bench@127.0.0.1:{self._port}/{_ABSURD}"

    def empty(self) -> None:
        """Forgets all workflows of DBOS, whose workers are gone."""
        self._run(self.url, _EMPTY)

    def empty_absurd(self) -> None:
        """Forgets all tasks of Absurd, whose workers are gone."""
        self._run(self.absurd_url, _EMPTY_ABSURD)

    def _run(self, url: str, statement: str) -> None:
        command = [str(self._bin / "psql"), "--quiet", "--no-psqlrc", url, "--command", statement]
        subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True)

    def stop(self) -> None:
        """Ends it and removes its data."""
        if self._child is not None:
            self._children.end(self._child)
            self._child = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self, child: Child) -> bool:
        child.check_is_alive()
        words = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(words, check=False).returncode == 0


def _unprivileged() -> int:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise OSError("PostgreSQL does not run as root, and there is no other user")
