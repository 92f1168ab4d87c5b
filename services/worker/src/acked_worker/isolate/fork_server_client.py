"""Keep a fork server running for a worker, start processes, and report how each ended."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from acked_common.model.backoff import Backoff
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log, log_fd
from acked_worker.isolate.frames import (
    MAX_MESSAGE_BYTES,
    Exited,
    ForkServerReady,
    Kill,
    Start,
    ToHost,
    decode_from_host,
    encode,
)

log = get_log(__name__)

SAID_AFTER_S = 10.0
"""A fork server that imports for longer is shown as the reason why isolated jobs wait."""
RESTART = Backoff(base_s=2.0, cap_s=30.0)
REAP_WITHIN_S = 5.0


class ForkServerGone(Exception):
    """Signal that there is no fork server; its processes ended with it, through no fault of their own."""


@dataclass(frozen=True, slots=True)
class ForkServerProcess:
    """A fork server that was started, and this end of the connection to it."""

    process: "subprocess.Popen[bytes]"
    line: socket.socket


def start_host(log_fd: int) -> ForkServerProcess:
    """Start a fork server whose log goes to a descriptor. It ends with the thread that starts it.

    Returns when the program is loaded, in a millisecond or two; the import of the handlers takes as long as it takes.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "acked_worker.isolate.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=log_fd,
        )
    ours.setblocking(False)
    return ForkServerProcess(process, ours)


class ForkServerClient:
    """One fork server at a time. All on the plumbing loop."""

    def __init__(
        self, *, on_ready: Callable[[], None], on_gone: Callable[[], None], first: ForkServerProcess | None = None
    ) -> None:
        """Take the first fork server, started before the worker imported its own handlers."""
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._first = first
        self._line: socket.socket | None = None
        self._is_ready = False
        self._failed: str | None = None
        self._started_at = time.monotonic()
        self._settled = asyncio.Event()
        self.copies = True
        """Whether a process is a fork. A new program imports the handlers first."""
        self._ended = asyncio.Event()
        self._numbers = 0
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._tasks = Tasks()

    @property
    def is_ready(self) -> bool:
        """Whether an isolated attempt can start now."""
        return self._is_ready

    @property
    def problem(self) -> str | None:
        """Why isolated jobs wait; None while all is well, and at first."""
        importing_s = time.monotonic() - self._started_at
        if self._failed is None and not self._is_ready and importing_s > SAID_AFTER_S:
            return f"the process that runs jobs whose worker was lost imports since {importing_s:.0f} s; see the log"
        return self._failed

    @property
    def is_settled(self) -> bool:
        """Whether the first fork server is ready, or was given up."""
        return self._settled.is_set()

    async def wait_settled(self) -> None:
        """Return when the first fork server is ready, or was given up."""
        await self._settled.wait()

    def start(self) -> None:
        """Keep a fork server running, in the background."""
        self._tasks.spawn(self._keep(), "fork server")

    async def stop(self) -> None:
        """End the fork server and its processes."""
        await self._tasks.cancel_all()

    def launch(self, line: socket.socket) -> "tuple[int, asyncio.Future[int]]":
        """Start a process with this end of a socket; return its number and its future exit code, see `Exited`.

        Raise `ForkServerGone`, now or through the future.
        """
        self._numbers += 1
        number = self._numbers
        self._send(Start(number), line.fileno())
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # Nobody has to wait for it.
        exited.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._exits[number] = exited
        return number, exited

    def kill(self, number: int) -> None:
        """End a process now, if it is still there."""
        try:
            self._send(Kill(number))
        except ForkServerGone:
            # Then it is gone too.
            return

    def _send(self, message: ToHost, *fds: int) -> None:
        if self._line is None or not self._is_ready:
            raise ForkServerGone
        try:
            socket.send_fds(self._line, [encode(message)], fds)
        except OSError as error:
            raise ForkServerGone from error

    async def _keep(self) -> None:
        failures = 0
        while True:
            failures = 1 if await self._serve() else failures + 1
            pause_s = RESTART.equal_jitter_s(failures)
            self._failed = "the process that runs jobs whose worker was lost does not start; see the log"
            self._settled.set()
            log.warning("the fork server ended; it starts again", in_s=round(pause_s, 1))
            self._on_gone()
            await asyncio.sleep(pause_s)

    async def _serve(self) -> bool:
        """Run one fork server from its start to its end; return whether it was ever ready."""
        loop = asyncio.get_running_loop()
        host, self._first = self._first or start_host(log_fd()), None
        process, ours = host.process, host.line
        with ours:
            self._line = ours
            self._ended.clear()
            self._started_at = time.monotonic()
            loop.add_reader(ours.fileno(), self._hear, ours)
            try:
                await self._ended.wait()
                return self._is_ready
            finally:
                loop.remove_reader(ours.fileno())
                self._line, self._is_ready = None, False
                process.kill()
                await asyncio.to_thread(process.wait, REAP_WITHIN_S)
                exits, self._exits = self._exits, {}
                for exited in exits.values():
                    if not exited.done():
                        exited.set_exception(ForkServerGone())

    def _hear(self, line: socket.socket) -> None:
        try:
            message = line.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._ended.set()
            return
        match decode_from_host(message):
            case ForkServerReady(kinds, copies):
                log.info("ready for isolated jobs", kinds=kinds, copies=copies)
                self._is_ready = True
                self.copies = copies
                self._failed = None
                self._settled.set()
                self._on_ready()
            case Exited(number, code):
                exited = self._exits.pop(number, None)
                if exited is not None and not exited.done():
                    exited.set_result(code)
