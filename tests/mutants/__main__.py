"""Makes each mutant in a copy of the checkout and runs the tests that must notice it: `./just mutants [names] [-k …]`.

A mutant is noticed when a test fails, or when the tests do not end: when they take longer than without a mutant those
of all chosen ones together. One that its own tests pass over goes through all unit tests before it counts as unnoticed.
"""

import argparse
import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mutants.catalogue import ROOT, DoesNotApply, Mutant, mutated, read_mutants
from support.servers import AMQP_URL, MONGO_URL, start_servers

PACKAGES = ("acked", "acked_cli", "acked_client", "acked_common", "acked_gateway", "acked_intake", "acked_worker")
WITH_SERVERS = ("tests/contracts", "tests/integration")
SOURCES = ("libs/*/src", "services/*/src")
WITHIN_S = 180.0
"""How long the tests of one mutant may take at least; more where all of them took longer without a mutant."""
UNIT_WITHIN_S = 900.0
BASELINE_WITHIN_S = 1800.0
TESTS_FAILED = 1
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)


class CannotRun(Exception):
    """The tests say nothing about mutants: they fail without one, or run other code."""


@contextmanager
def copied(checkout: Path) -> Iterator[Path]:
    """A copy of the files of the checkout as they are now, which is removed afterwards."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="acked-mutants-") as folder:
        copy = Path(folder) / "checkout"
        for name in filter(None, listed.split("\0")):
            source, target = checkout / name, copy / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        # What tests start servers with.
        for name in (".venv", ".acked/servers"):
            if (checkout / name).is_dir():
                (copy / name).parent.mkdir(exist_ok=True)
                (copy / name).symlink_to(checkout / name)
        (Path(folder) / "tmp").mkdir()
        yield copy


@contextmanager
def servers_for(mutants: Sequence[Mutant]) -> Iterator[dict[str, str]]:
    """Servers for all runs, where some need them; the variables that tell tests of them."""
    if not any(test.startswith(WITH_SERVERS) for mutant in mutants for test in mutant.tests):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="acked-mutants-") as folder:
        servers = start_servers(Path(folder))
        try:
            yield {MONGO_URL: servers.mongo_url, AMQP_URL: servers.amqp_url}
        finally:
            servers.stop()


class Tests:
    """pytest over a copy of the checkout."""

    def __init__(self, copy: Path, variables: Mapping[str, str]) -> None:
        self._copy = copy
        sources = [path for pattern in SOURCES for path in sorted(copy.glob(pattern))]
        self._environ = {
            **os.environ,
            **variables,
            # Before the checkout that the environment has installed.
            "PYTHONPATH": os.pathsep.join(map(str, (*sources, copy / "tests", copy))),
            # Two changes of one file within a second would else share one compiled file.
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(copy.parent / "tmp"),
            # Tests that can't start a server must not pass over a mutant.
            "CI": "true",
        }

    def check_imports(self) -> None:
        """The tests import the copy. Raises `CannotRun`."""
        program = f"import {', '.join(PACKAGES)}; print(*(m.__file__ for m in ({', '.join(PACKAGES)})), sep=chr(10))"
        shown = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self._copy,
            env=self._environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        if outside := [path for path in shown if not Path(path).is_relative_to(self._copy)]:
            raise CannotRun(f"the tests would import {', '.join(outside)} instead of the copy")

    def run(self, arguments: Sequence[str], within_s: float) -> tuple[int | None, str]:
        """The exit code, None where it did not end in time, and the output."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self._copy,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return None, ""
        except BaseException:
            _kill(process)
            raise
        return process.returncode, output

    def write(self, name: str, text: str) -> None:
        """Changes a file of the copy."""
        (self._copy / name).write_text(text)

    def read(self, name: str) -> str:
        """A file of the copy."""
        return (self._copy / name).read_text()


def _kill(process: "subprocess.Popen[str]") -> None:
    # With what its tests have started: that is of its session.
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def first_failed(output: str) -> str:
    """The first test that pytest's summary calls failed; logs begin their lines alike."""
    found = _FAILED.search(output)
    return found.group(1) if found else "a test that pytest does not name"


def verdict(tests: Tests, mutant: Mutant, within_s: float) -> tuple[bool, str]:
    """Whether a mutant is noticed, and by which test; its own tests hang if they take longer than `within_s`. Raises
    `CannotRun` where its tests can't be run."""
    original = tests.read(mutant.file)
    changed = mutated(original, mutant)
    ast.parse(changed)
    tests.write(mutant.file, changed)
    try:
        for arguments, bound_s in ((mutant.tests, within_s), (("tests/unit",), UNIT_WITHIN_S)):
            code, output = tests.run(arguments, bound_s)
            if code is None:
                return True, f"not done within {bound_s:.0f} s: {' '.join(arguments)}"
            if code == TESTS_FAILED:
                return True, first_failed(output)
            if code:
                raise CannotRun(f"{mutant.name}: pytest ended with {code}:\n{output[-3000:]}")
    finally:
        tests.write(mutant.file, original)
    return False, "no test notices it"


def chosen(mutants: Sequence[Mutant], names: Sequence[str], containing: str) -> list[Mutant]:
    """Those of these names, or all, whose name or file contains a text. Raises `SystemExit` for an unknown name."""
    if unknown := set(names) - {mutant.name for mutant in mutants}:
        raise SystemExit(f"no mutant is called {', '.join(sorted(unknown))}; ./just mutants --list shows them")
    found = [mutant for mutant in mutants if not names or mutant.name in names]
    return [mutant for mutant in found if containing in mutant.name or containing in mutant.file]


def run_all(mutants: Sequence[Mutant]) -> list[str]:
    """Runs mutants one after the other, prints what comes of each, and returns the unnoticed ones."""
    survived: list[str] = []
    with servers_for(mutants) as variables, copied(ROOT) as copy:
        tests = Tests(copy, variables)
        tests.check_imports()
        wanted = list(dict.fromkeys(argument for mutant in mutants for argument in mutant.tests))
        print(f"without a mutant: {len(wanted)} modules and tests", flush=True)
        begun = time.monotonic()
        code, output = tests.run(wanted, BASELINE_WITHIN_S)
        # A busy machine, on which the tests are slow without a mutant too, is no mutant that hangs.
        within_s = max(WITHIN_S, time.monotonic() - begun)
        if code != 0:
            raise CannotRun(f"without any mutant the tests do not pass:\n{output[-3000:]}")
        for mutant in mutants:
            begun = time.monotonic()
            is_noticed, how = verdict(tests, mutant, within_s)
            if not is_noticed:
                survived.append(mutant.name)
            shown = "noticed " if is_noticed else "SURVIVED"
            print(f"{mutant.name:<32} {shown} {time.monotonic() - begun:6.1f} s  {how}", flush=True)
    return survived


def main(words: Sequence[str]) -> int:
    """The exit code: 1 where a mutant is not noticed, 2 where the tests can't say."""
    parser = argparse.ArgumentParser(prog="./just mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants; all by default")
    parser.add_argument(
        "-k", default="", metavar="text", dest="containing", help="those whose name or file contains it"
    )
    parser.add_argument("--list", action="store_true", help="show what there is, and run nothing")
    options = parser.parse_args(words)
    mutants = chosen(read_mutants(), options.names, options.containing)
    if options.list:
        print("\n".join(f"{mutant.name:<32} {mutant.why}" for mutant in mutants))
        return 0
    if not mutants:
        raise SystemExit("no mutant is like that; ./just mutants --list shows them")
    try:
        survived = run_all(mutants)
    except (CannotRun, DoesNotApply) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(mutants) - len(survived)} of {len(mutants)} noticed" + "".join(f"\n  not: {n}" for n in survived))
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
