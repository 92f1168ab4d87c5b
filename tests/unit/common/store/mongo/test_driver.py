"""The driver's pool of threads is as large as renewals need it, whoever opened the first client."""

import asyncio
import subprocess
import sys
import threading

from motor.frameworks import asyncio as motor_pool

from acked_common.store.mongo.driver import DRIVER_THREADS
from acked_common.store.mongo.store import MongoStore

MEET_WITHIN_S = 30.0
IMPORTING = "import os; before = dict(os.environ); import acked_common.store.mongo.store; assert os.environ == before"


async def test_driver_runs_as_many_calls_at_once_as_stated() -> None:
    store = MongoStore("mongodb://127.0.0.1:1", "nowhere", app_name="unit", timeout_s=0.1)
    meeting = threading.Barrier(DRIVER_THREADS)
    loop = asyncio.get_running_loop()

    # With a thread less they would wait for each other until the barrier breaks.
    await asyncio.gather(
        *(motor_pool.run_on_executor(loop, meeting.wait, MEET_WITHIN_S) for _ in range(DRIVER_THREADS))
    )

    await store.close()


async def test_second_client_keeps_the_threads_of_the_first() -> None:
    first = MongoStore("mongodb://127.0.0.1:1", "nowhere", app_name="unit", timeout_s=0.1)
    pool = motor_pool._EXECUTOR
    second = MongoStore("mongodb://127.0.0.1:1", "nowhere", app_name="unit", timeout_s=0.1)

    assert motor_pool._EXECUTOR is pool

    await first.close()
    await second.close()


def test_import_leaves_the_environment_alone() -> None:
    subprocess.run([sys.executable, "-c", IMPORTING], check=True, timeout=60)
