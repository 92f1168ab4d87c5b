"""Processes that a run starts, and that are gone when it ends; what a process has used, from /proc."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ENDS_WITHIN_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One program with all that it starts: a process group of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", name: str, log: Path) -> None:
        self._process = process
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def check_is_alive(self) -> None:
        """Raises `ChildError` with the end of its log when it has ended."""
        if self._process.poll() is not None:
            tail = "\n  ".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise ChildError(f"{self.name} ended with {self._process.returncode}; its log ends with:\n  {tail}")

    def end(self) -> None:
        """Asks it to stop, and makes it."""
        _to_group(self.pid, signal.SIGTERM)
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass
        # What it has started may outlive it.
        _to_group(self.pid, signal.SIGKILL)
        self._process.wait()

    def kill(self) -> None:
        """Ends it at once."""
        _to_group(self.pid, signal.SIGKILL)
        self._process.wait()


class ChildError(Exception):
    """A program of the benchmark did not do its part; the message has its log."""


class Children:
    """All programs of a run; a context manager that leaves none behind."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        user: int | None = None,
    ) -> Child:
        """Starts a program; what it says goes to a log."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        child = Child(process, name, log)
        self._all.append(child)
        return child

    def run(self, command: Sequence[str], *, environ: Mapping[str, str], within_s: float) -> str:
        """What a program says, once it has ended; raises `ChildError` when it fails or takes too long."""
        process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child = Child(process, Path(command[0]).name, Path(os.devnull))
        self._all.append(child)
        try:
            output, _ = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise ChildError(f"{child.name} does not end within {within_s:g} s") from None
        finally:
            if child in self._all:
                self._all.remove(child)
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise ChildError(f"{child.name} ended with {process.returncode}: {text.strip()[-300:]}")
        return text

    def end(self, child: Child) -> None:
        """Ends one of them."""
        child.end()
        self._all.remove(child)

    def kill(self, child: Child) -> None:
        """Ends one of them at once."""
        child.kill()
        self._all.remove(child)

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        while self._all:
            self._all.pop().end()


def _to_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, in user mode and in the kernel, its ended children left out."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def used_s(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU of each named process; those that have ended are left out."""
    found = {}
    for name, pid in pids.items():
        try:
            found[name] = cpu_s(pid)
        except OSError:
            continue
    return found


def until(holds: Callable[[], bool], *, within_s: float, what: str, every_s: float = 0.05) -> None:
    """Returns when it holds; raises `ChildError` when the time is over."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise ChildError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
