"""Packages of handlers: installed once, refused where they conflict, and removed when their line is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.native.handler_packages import HandlerPackages, HandlerPackagesError, constraints_of, names_of


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A package of one module."""
    info = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)


class Bench:
    """An environment of its own, a folder of handlers, and an index that is a folder."""

    def __init__(self, folder: Path) -> None:
        self.index, self.handlers, self.kept = folder / "index", folder / "handlers", folder / "kept.json"
        for made in (self.index, self.handlers):
            made.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.python = folder / "venv" / "bin" / "python"
        wheel(self.index, "acked_probe", "1.0")
        wheel(self.index, "acked_probe", "2.0", needs="acked-probe-part")
        wheel(self.index, "acked_probe_part", "1.0")

    def packages(self, name: str = "handlers") -> HandlerPackages:
        return HandlerPackages(self.handlers.with_name(name), kept=self.kept, python=self.python)

    def require(self, *lines: str) -> None:
        text = "\n".join(["--no-index", f"--find-links {self.index}", *lines])
        (self.handlers / "requirements.txt").write_text(f"{text}\n")

    def imported(self, module: str) -> str:
        """The version of a module in the environment; empty where there is none."""
        # Without bytecode: uv unpacks both versions within a second, and their sources have the same size.
        words = [str(self.python), "-B", "-c", f"import {module}; print({module}.VERSION)"]
        return subprocess.run(words, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_no_file_installs_nothing(bench: Bench) -> None:
    assert bench.packages().install() == bench.packages().tidy() == []
    assert not bench.kept.exists()


def test_packages_come_and_leave_with_their_line(bench: Bench) -> None:
    bench.require("acked-probe")
    assert bench.packages().install() == ["packages of handlers: acked-probe, acked-probe-part"]
    assert [bench.imported(name) for name in ("acked_probe", "acked_probe_part")] == ["2.0", "1.0"]

    bench.require("acked-probe<2")
    assert bench.packages().install() == ["packages of handlers: acked-probe"]
    assert bench.imported("acked_probe_part") == "1.0", "a worker that still runs may need it"
    assert bench.packages().tidy() == ["packages of handlers removed: acked-probe-part"]
    assert [bench.imported(name) for name in ("acked_probe", "acked_probe_part")] == ["1.0", ""]

    (bench.handlers / "requirements.txt").unlink()
    assert bench.packages().install() == ["packages of handlers: none any more"]
    assert bench.packages().tidy() == ["packages of handlers removed: acked-probe"]
    assert bench.imported("acked_probe") == ""
    assert bench.packages().install() == bench.packages().tidy() == []


def test_unchanged_file_needs_no_index(bench: Bench) -> None:
    bench.require("acked-probe")
    bench.packages().install()
    for file in bench.index.iterdir():
        file.unlink()
    assert bench.packages().install() == []


def test_conflict_names_both_and_changes_nothing(bench: Bench) -> None:
    bench.require("acked-probe")
    bench.packages().install()
    before = bench.kept.read_text()
    bench.require("acked-probe<2", "starlette<0.20")
    with pytest.raises(
        HandlerPackagesError, match=r"(?s)requirements\.txt can't be resolved.*starlette<0\.20.*starlette==\d"
    ):
        bench.packages().install()
    assert bench.kept.read_text() == before
    assert bench.imported("acked_probe") == "2.0"


def test_package_of_another_folder_stays(bench: Bench) -> None:
    bench.require("acked-probe-part")
    bench.packages().install()
    other = bench.handlers.with_name("other")
    other.mkdir()
    (other / "requirements.txt").write_text((bench.handlers / "requirements.txt").read_text())
    bench.packages("other").install()
    (other / "requirements.txt").unlink()
    bench.packages("other").install()
    assert bench.packages("other").tidy() == []
    assert bench.imported("acked_probe_part") == "1.0"


def test_pins_are_read_with_markers_and_without_hashes() -> None:
    lock = "a-b==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\nC_d[x]==2.0 \\\n    --hash=sha256:11\n"
    assert names_of(lock) == {"a-b", "c-d"}
    assert constraints_of([lock]) == "a-b==1.0 ; sys_platform == 'win32'\nC_d[x]==2.0\n"
