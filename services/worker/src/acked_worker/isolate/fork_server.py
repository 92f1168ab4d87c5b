"""The fork server of a worker: `python -m acked_worker.isolate.fork_server FD`, started by the worker.

It imports the handlers once, as the worker does, and then only waits. For each isolated attempt it forks itself, which
costs milliseconds. It has one thread, so that a fork is whole. If a module with handlers starts threads or opens
connections while it is imported, forks would share them; each isolated attempt then gets a new program.
"""

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import setproctitle

from acked import Kind
from acked_common.runtime.env import SettingsError
from acked_common.runtime.logs import get_log, log_fd
from acked_worker.handlers.imports import load_handlers
from acked_worker.handlers.registry import HandlersError
from acked_worker.isolate.frames import (
    MAX_MESSAGE_BYTES,
    Exited,
    ForkServerReady,
    FromHost,
    Kill,
    Start,
    decode_to_host,
    encode,
)
from acked_worker.isolate.isolated_process import die_with_parent, leave_signals_to_the_worker, run_isolated
from acked_worker.process.output import write_log_apart
from acked_worker.settings import WorkerSettings, read_settings

log = get_log(__name__)

_PROGRAM = "import sys; from acked_worker.isolate.fork_server import run_one; run_one(int(sys.argv[1]))"


def main(line_fd: int) -> int:
    """Run the fork server and return the exit code."""
    _detach()
    line = socket.socket(fileno=line_fd)
    known = _sockets()
    try:
        settings, kinds = _load()
    except (SettingsError, HandlersError) as error:
        log.error("no isolated job can run here: the handlers can't be loaded", error=str(error))
        return 2
    setproctitle.setproctitle(f"acked-suspects {settings.name}")
    leave_signals_to_the_worker()
    copies = threading.active_count() == 1 and _sockets() == known
    if not copies:
        log.warning("handlers start threads or open connections while they are imported: isolated jobs start slowly")
    gc.collect()
    gc.freeze()
    _ForkServer(line, kinds, settings.name, copies=copies).serve()
    return 0


def run_one(line_fd: int) -> None:
    """Run one isolated attempt in a new program."""
    _detach()
    settings, kinds = _load()
    setproctitle.setproctitle(f"acked-suspect {settings.name}")
    leave_signals_to_the_worker()
    run_isolated(socket.socket(fileno=line_fd), kinds)


def _detach() -> None:
    die_with_parent(os.getppid())
    # A handler that signals its process group shall reach nobody else.
    os.setsid()


def _load() -> tuple[WorkerSettings, dict[str, Kind]]:
    settings = read_settings()
    write_log_apart(settings)
    return settings, load_handlers(settings.handlers)


def _sockets() -> set[str]:
    """Return the open sockets of this process."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            # The listing's own descriptor.
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


class _Started:
    """The process of one isolated attempt."""

    def __init__(self, number: int, pid: int, reap: Callable[[], int]) -> None:
        self.number = number
        self.pid = pid
        self.reap = reap
        """Answers how it ended, once it has: an exit code, or minus the number of a signal."""


class _ForkServer:
    def __init__(self, line: socket.socket, kinds: Mapping[str, Kind], worker: str, *, copies: bool) -> None:
        self._line = line
        self._kinds = kinds
        self._worker = worker
        self._copies = copies
        self._started: dict[int, _Started] = {}
        """By the descriptor that tells of its end."""
        self._poll = select.poll()

    def serve(self) -> None:
        """Serve until the worker exits; the kernel then ends the processes."""
        self._tell(ForkServerReady(len(self._kinds), self._copies))
        self._poll.register(self._line, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._line.fileno():
                    self._bury(fd)
                elif not self._hear():
                    return

    def _hear(self) -> bool:
        """Handle one message of the worker; return False if the worker has exited."""
        try:
            message, fds, _, _ = socket.recv_fds(self._line, MAX_MESSAGE_BYTES, 1)
        except OSError:
            return False
        if not message:
            return False
        match decode_to_host(message):
            case Start(number):
                self._start(number, fds[0])
            case Kill(number):
                for one in self._started.values():
                    if one.number == number:
                        os.kill(one.pid, signal.SIGKILL)
        return True

    def _start(self, number: int, fd: int) -> None:
        try:
            started = self._copy(number, fd) if self._copies else self._new_program(number, fd)
        except OSError as error:
            # The worker sees its end of the line closed, before the handler began.
            log.error("the process of an isolated job could not start", error=str(error))
            self._tell(Exited(number, 1))
            return
        finally:
            os.close(fd)
        watch = os.pidfd_open(started.pid)
        self._started[watch] = started
        self._poll.register(watch, select.POLLIN)

    def _copy(self, number: int, fd: int) -> _Started:
        host = os.getpid()
        pid = os.fork()
        if pid:
            return _Started(number, pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        try:
            die_with_parent(host)
            os.setsid()
            self._line.close()
            for watch in self._started:
                os.close(watch)
            setproctitle.setproctitle(f"acked-suspect {self._worker}")
            run_isolated(socket.socket(fileno=fd), self._kinds)
        except BaseException:
            log.exception("the process of an isolated job failed")
        finally:
            # Nothing may return into the fork server's loop.
            os._exit(1)

    def _new_program(self, number: int, fd: int) -> _Started:
        command = [sys.executable, "-c", _PROGRAM, str(fd)]
        program = subprocess.Popen(command, pass_fds=[fd], stderr=log_fd())
        return _Started(number, program.pid, program.wait)

    def _bury(self, watch: int) -> None:
        started = self._started.pop(watch)
        self._poll.unregister(watch)
        os.close(watch)
        self._tell(Exited(started.number, started.reap()))

    def _tell(self, message: FromHost) -> None:
        try:
            self._line.send(encode(message))
        except OSError:
            # The worker is gone; the next message says so.
            return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
