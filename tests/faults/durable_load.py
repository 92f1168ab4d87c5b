"""A load of durable jobs, and what an experiment with them expects in the end."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pymongo.errors import PyMongoError

from faults.durable import SIGNALS, DurableWork
from faults.experiment import Experiment
from support.stacks import eventually

AT_ONCE, MOST, EVERY_S = 6, 40, 1.0
"""So many jobs come each time, while fewer than the maximum live."""
STEP_S = 0.3


@contextmanager
def durable_load(run: Experiment) -> Iterator[DurableWork]:
    """Durable jobs come and get their signals, as many as have room: on a busy machine fewer."""
    durable = run.durably()
    over = threading.Event()

    def feed() -> None:
        while not over.wait(EVERY_S):
            # MongoDB is killed in one of the experiments.
            with suppress(PyMongoError):
                if run.in_flight() < MOST:
                    run.client.burst(AT_ONCE, kind="fault.durable", seconds=STEP_S, signals=SIGNALS)

    with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
        feeding = pool.submit(feed)
        try:
            wait_confirmed(durable, SIGNALS)
            yield durable
        finally:
            over.set()
            feeding.result()


def wait_confirmed(durable: DurableWork, number: int) -> None:
    """Return when gateways have confirmed so many more signals."""
    wanted = durable.confirmed + number
    eventually(lambda: durable.confirmed >= wanted, within_s=150, what=f"{number} more signals are confirmed")


def reasons(run: Experiment) -> set[str]:
    """All reasons in the histories of its jobs."""
    return {entry.reason for job in run.evidence.jobs.values() for entry in job.entries}


def ran_again(run: Experiment) -> int:
    """How many steps ran more than once."""
    assert run.evidence.durable is not None
    return run.evidence.durable.ran_again
