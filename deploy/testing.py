"""Run the tests folder by folder and print how long each took: `python -m deploy.testing [folder …] [options]`.

Three words are no folders: `pythons [folder …]` runs folders on the other Pythons of this machine, `coverage` runs the
unit tests under coverage and compares it with its floor, and `full` runs the second tier.

With CI=true a skipped test is a failure, because everything must run there.

A run that is interrupted or takes too long leaves no process. pytest gets the signal and time to stop its servers; then
all remaining processes of the run are ended, found by a variable in their environment.
"""

import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acked_common.runtime.setting_names import unknown_settings
from deploy import console
from deploy.native.processes import end_processes, processes_with, wait_until

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
ORDER = ("architecture", "unit", "simulation", "contracts", "integration", "acceptance", "faults", "soak")
ON_REQUEST = ("faults", "soak")
PROGRAMS = {"pythons": "deploy.pythons", "coverage": "deploy.coverage", "full": "deploy.tiers"}
"""Words in place of a folder, each for a program of its own."""
SIDE_BY_SIDE = {"architecture": 2, "unit": 3, "simulation": 2, "contracts": 3}
"""How many processes run a folder whose tests share nothing and measure no time; those of servers often wait."""
MODULES_SIDE_BY_SIDE = {"integration": 3, "acceptance": 3, "faults": 2}
"""How many processes run the modules of a folder in parallel. Tests marked `alone`, which measure time or load the
machine, run afterwards, one by one. Tests marked `long` run in the second tier."""
SECOND_RUNS = 3
"""How many tests of a folder that starts servers may fail in a run and be run again alone.
Such a test is a fault to be found, and is named at the end; it doesn't hide what the other tests have shown."""
TESTS_FAILED = 1
NO_TESTS_FOUND = 5
TIMED_OUT = 124
FOLDER_WITHIN_S = 1800.0
# What a test run that was interrupted needs to stop its servers.
TIDIES_WITHIN_S = 60.0
# The time that each remaining process then has to end by SIGTERM.
ENDS_WITHIN_S = 10.0
RUN_VARIABLE = "JUST_TEST_RUN"
"""The variable with the marks of a run and of the runs that started it, in the environment of all of its processes."""
_SI_KERNEL = 0x80


def known_folders(tests: Path) -> list[str]:
    """Return the folders that contain tests."""
    return [name for name in ORDER if any((tests / name).rglob("test_*.py"))]


def folders_to_run(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into folders and options for pytest. Without a folder: all but those that run on request.

    Folders come first, because a word after an option may be its value.
    """
    first_option = next((index for index, word in enumerate(words) if word not in known), len(words))
    chosen = list(dict.fromkeys(words[:first_option]))
    return chosen or [name for name in known if name not in ON_REQUEST], list(words[first_option:])


def names_tests(words: Sequence[str]) -> bool:
    """Return whether a word is a path or an id of a test. Then all words go to pytest as they are."""
    # An option such as `--ignore-glob=*/x.py` is neither.
    return any("/" in word or "::" in word for word in words if not word.startswith("-"))


def skipped_tests(report: str) -> list[str]:
    """Return the skipped tests of a JUnit report, with their reasons."""
    found = []
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        if (skipped := case.find("skipped")) is not None and skipped.get("type") != "pytest.xfail":
            found.append(f"{case.get('classname')}.{case.get('name')}: {skipped.get('message')}")
    return found


def failed_tests(report: str) -> list[str]:
    """Return the ids of the tests of a JUnit report that failed, before, in or after their body."""
    found = []
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        if case.find("failure") is not None or case.find("error") is not None:
            found.append(f"{(case.get('classname') or '').replace('.', '/')}.py::{case.get('name')}")
    return list(dict.fromkeys(found))


def run_program(module: str, arguments: Sequence[str], within_s: float | None) -> int:
    """Run a module and return its exit code. Interrupt one that takes too long, so that it stops its servers.

    Neither a timeout nor an interrupt leaves a process of the run.
    """
    mark = secrets.token_hex(8)
    marks = [*os.environ.get(RUN_VARIABLE, "").split(), mark]
    # `_wait` takes it from here; nothing else may be interrupted between the start and the end of the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = console.start_module(module, *arguments, cwd=ROOT, env={**os.environ, RUN_VARIABLE: " ".join(marks)})
        try:
            return _wait(process, within_s)
        except subprocess.TimeoutExpired:
            print(f"not done within {within_s:g} s: interrupted", flush=True)
            process.send_signal(signal.SIGINT)
            _end(process, mark)
            return TIMED_OUT
        except KeyboardInterrupt:
            _end(process, mark)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_pytest(arguments: Sequence[str], within_s: float, under: Sequence[str] = ()) -> int:
    """Run pytest as `run_program` does; `under` is the command line of a module that runs it as one of its own."""
    module, *first = [*under, "pytest"]
    return run_program(module, [*first, *arguments], within_s)


def _wait(process: "subprocess.Popen[bytes]", within_s: float | None) -> int:
    """Return the exit code. Raise `TimeoutExpired`, or `KeyboardInterrupt` once the process has the signal too.

    SIGINT must be blocked. SIGCHLD is blocked here alone: a program that is started meanwhile would inherit that.
    """
    watched = {signal.SIGINT, signal.SIGCHLD}
    end = math.inf if within_s is None else time.monotonic() + within_s
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        while process.poll() is None:
            found = signal.sigtimedwait(watched, min(max(0.0, end - time.monotonic()), 3600.0))
            if found is None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(process.args, within_s or 0.0)
            if found is not None and found.si_signo == signal.SIGINT:
                # A terminal signals all of its processes, `kill` may signal this one alone. A second signal would
                # interrupt the stop of the servers.
                if found.si_code != _SI_KERNEL:
                    process.send_signal(signal.SIGINT)
                raise KeyboardInterrupt
        return int(process.returncode)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    # Ignore further signals: pytest handles them, and this process must not exit before it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.wait(TIDIES_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        _end_marked(mark)
        signal.signal(signal.SIGINT, before)


def _end_marked(mark: str) -> None:
    def is_ours(variables: list[bytes]) -> bool:
        name = f"{RUN_VARIABLE}=".encode()
        return any(mark.encode() in one.removeprefix(name).split() for one in variables if one.startswith(name))

    def left() -> dict[int, str]:
        return processes_with(is_ours)

    for number in (signal.SIGTERM, signal.SIGKILL):
        if found := left():
            print(f"ending {len(found)} processes that the run has left", file=sys.stderr, flush=True)
            end_processes(found, number)
            wait_until(lambda: not left(), ENDS_WITHIN_S)


def passes(name: str, options: Sequence[str]) -> list[list[str]]:
    """Return the options of each run of pytest over a folder: one run if the caller passes options."""
    if name in SIDE_BY_SIDE:
        return [[f"--numprocesses={SIDE_BY_SIDE[name]}", "--dist=worksteal", *options]]
    if name in MODULES_SIDE_BY_SIDE and not options:
        # In the order of their names: a module of few tests may take the longest, and is not to come last.
        beside = [f"--numprocesses={MODULES_SIDE_BY_SIDE[name]}", "--dist=loadfile", "--no-loadscope-reorder"]
        return [[*beside, "-m", "not alone and not long"], ["-m", "alone and not long"]]
    return [list(options)]


def first_failure(codes: Sequence[int], *, may_be_empty: bool) -> int:
    """Return the exit code of a folder from those of its runs; one of several runs may have found no test."""
    if all(code == NO_TESTS_FOUND for code in codes):
        return 0 if may_be_empty else NO_TESTS_FOUND
    return next((code for code in codes if code not in (0, NO_TESTS_FOUND)), 0)


@dataclass(slots=True)
class FolderResult:
    """How the tests of a folder ended."""

    code: int = 0
    skipped: list[str] = field(default_factory=list)
    unstable: list[str] = field(default_factory=list)
    """Ids of those that passed only in their second run."""


def run_folder(name: str, options: Sequence[str], *, ci: bool, under: Sequence[str] = ()) -> FolderResult:
    """Run one folder. `under` is that of `run_pytest`. With `ci`, a skipped test is a failure."""
    codes: list[int] = []
    result = FolderResult()
    for pass_options in passes(name, options):
        arguments = [str(TESTS / name), "--durations=12", *pass_options]
        code, failed = _run_reported(arguments, result, under)
        if code == TESTS_FAILED and name in MODULES_SIDE_BY_SIDE and not options:
            code = _run_again(failed, result, under)
        codes.append(code)
    # A choice by options may leave a folder empty.
    result.code = first_failure(codes, may_be_empty=bool(options)) or int(ci and bool(result.skipped))
    return result


def _run_reported(arguments: Sequence[str], result: FolderResult, under: Sequence[str]) -> tuple[int, list[str]]:
    """Run pytest, note the skipped tests, and return the exit code and the failed tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = run_pytest([*arguments, f"--junitxml={report}"], FOLDER_WITHIN_S, under)
        if not report.exists():
            return code, []
        text = report.read_text()
    result.skipped += skipped_tests(text)
    return code, failed_tests(text)


def _run_again(failed: Sequence[str], result: FolderResult, under: Sequence[str]) -> int:
    """Run a few failed tests once more, alone; return the final exit code.

    Tests of servers share the cores with other tests, so that one of a thousand may exceed its time limit.
    """
    can_run = all((ROOT / test.partition("::")[0]).is_file() for test in failed)
    if not failed or not can_run or len(result.unstable) + len(failed) > SECOND_RUNS:
        return TESTS_FAILED
    print(f"== again, alone: {' '.join(failed)}", flush=True)
    code, _ = _run_reported([str(ROOT / test) for test in failed], result, under)
    result.unstable += failed if code == 0 else ()
    return code


def main(words: Sequence[str]) -> int:
    """Run the tests and return the exit code of the first folder that failed."""
    if unknown := unknown_settings(os.environ):
        print("just test: unknown settings; correct or unset them:\n  " + "\n  ".join(unknown), file=sys.stderr)
        return 2
    if words and words[0] in PROGRAMS:
        return run_program(PROGRAMS[words[0]], words[1:], None)
    if names_tests(words):
        return run_pytest(words, FOLDER_WITHIN_S)
    ci = os.environ.get("CI") == "true"
    known = known_folders(TESTS)
    folders, options = folders_to_run(words, known)
    lines: list[str] = []
    failed = 0
    for name in folders:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        result = run_folder(name, options, ci=ci)
        lines.append(f"{name:<14} {'passed' if result.code == 0 else 'FAILED'} in {time.monotonic() - started:6.1f} s")
        lines += [f"  skipped: {test}" for test in result.skipped]
        lines += [f"  passed only in its second run, find the cause: {test}" for test in result.unstable]
        failed = failed or result.code
    print("\n".join(lines))
    if left_out := [name for name in known if name in ON_REQUEST and name not in folders]:
        print(f"not run by default: {', '.join(f'./just test {name}' for name in left_out)}")
    return failed


if __name__ == "__main__":
    sys.exit(console.run("just test", lambda: main(sys.argv[1:])))
