"""Runs a worker: `python -m acked_worker`."""

import asyncio
import gc
import os
import sys

import setproctitle
import uvloop

from acked_common import crash_points
from acked_common.lifetime import raise_file_limit, stop_on_signals
from acked_common.logs import set_up_logs
from acked_common.settings import SettingsError
from acked_worker.app import Worker
from acked_worker.registry import HandlersError, load_kinds
from acked_worker.settings import read_settings


def main() -> int:
    """The exit code."""
    try:
        settings = read_settings()
        kinds = load_kinds(settings.handler_modules, settings.handlers_dir)
    except (SettingsError, HandlersError) as error:
        print(f"acked-worker: {error}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return 2
    set_up_logs("acked-worker", settings.common.log_level)
    crash_points.arm(settings.common.crash)
    setproctitle.setproctitle(f"acked-worker {settings.name}")
    raise_file_limit()

    async def run() -> Worker:
        stop = stop_on_signals(asyncio.get_running_loop())
        worker = Worker(settings, kinds)
        gc.collect()
        gc.freeze()
        await worker.run(stop)
        return worker

    worker = uvloop.run(run())
    if worker.has_abandoned:
        # A thread of user code that never returns would keep the process for ever.
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
