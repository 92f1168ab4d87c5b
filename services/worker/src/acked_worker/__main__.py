"""Entry point of a worker: `python -m acked_worker`.

The main thread imports the handlers, then waits for signals. The plumbing loop runs in its own thread (see `signals`).
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Mapping

import setproctitle
import uvloop

from acked import Kind
from acked_common.runtime import failpoints
from acked_common.runtime.env import SettingsError
from acked_common.runtime.lifetime import raise_file_limit
from acked_common.runtime.logs import get_log, say_now
from acked_worker.app import WorkerService
from acked_worker.handlers.registry import HandlersError
from acked_worker.import_health import load_while_probed
from acked_worker.isolate.fork_server_client import ForkServerProcess, start_host
from acked_worker.process.forks import guard_forks
from acked_worker.process.leaving import end_process
from acked_worker.process.output import write_log_apart
from acked_worker.process.signals import SignalWatch, end_on_stop_signals
from acked_worker.settings import WorkerSettings, read_settings

log = get_log(__name__)


class _Plumbing:
    """The thread of a worker, and its stop request."""

    def __init__(self, settings: WorkerSettings, kinds: Mapping[str, Kind], host: ForkServerProcess) -> None:
        self._settings = settings
        self._kinds = kinds
        self._host = host
        self._is_running = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._worker: WorkerService
        self._stop: asyncio.Event
        self._code = 1
        self._watch = SignalWatch(self._on_stop)

    def run(self) -> int:
        """Return the exit code when the worker has stopped; in the main thread."""
        self._watch.prepare()
        threading.Thread(target=self._run, name="acked-plumbing", daemon=True).start()
        self._watch.wait()
        return self._code

    def _run(self) -> None:
        try:
            self._watch.leave_to_main_thread()
            uvloop.run(self._work())
            self._code = 0
        except BaseException:
            log.exception("the worker failed")
        finally:
            self._is_running.set()
            self._watch.end()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._worker = WorkerService(self._settings, self._kinds, self._stop, self._host)
        gc.collect()
        gc.freeze()
        self._is_running.set()
        await self._worker.run()

    def _on_stop(self, is_from_within: bool) -> None:
        self._is_running.wait()
        try:
            self._loop.call_soon_threadsafe(self._leave, is_from_within)
        except RuntimeError:
            # The loop has already stopped.
            return

    def _leave(self, is_from_within: bool) -> None:
        if is_from_within and not self._stop.is_set():
            self._worker.suspect_all()
        self._stop.set()


def main() -> int:
    """Run the worker until it stops. Return the exit code."""
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"acked-worker: {error}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return 2
    own = write_log_apart(settings, bytes_per_s=settings.output_bytes_per_s)
    failpoints.arm(settings.common.crash)
    setproctitle.setproctitle(f"acked-worker {settings.name}")
    raise_file_limit()
    guard_forks()
    end_on_stop_signals()
    # Start it before the import here, because it imports the handlers too, in parallel.
    host = start_host(own.fileno())
    try:
        kinds = load_while_probed(settings)
    except HandlersError as error:
        say_now(f"acked-worker: {error}\n")
        return end_process(2)
    return end_process(_Plumbing(settings, kinds, host).run())


if __name__ == "__main__":
    sys.exit(main())
