"""The main thread of a worker waits for signals, whatever happens to the process meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IN_A_NAMESPACE = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")
IMPORTING = """
import time
from acked_worker.process import signals

signals.end_on_stop_signals()
print("imports", flush=True)
# A signal just ahead of a sleep does not end that sleep, so it may not be one long one.
for _ in range(600):
    time.sleep(0.1)
"""
PROGRAM = """
import threading
from acked_worker.process import signals

signals.LOOK_EVERY_S = 0.05
watch = signals.SignalWatch(lambda within: watch.end())
watch.prepare()
print("waits", flush=True)
watch.wait()
print("ended", flush=True)
"""


def test_watch_outlives_a_pause_of_the_process() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "waits\n"
        for _ in range(10):
            os.kill(watch.pid, signal.SIGSTOP)
            os.waitpid(watch.pid, os.WUNTRACED)
            # The pause itself is the fault: longer than the wait that it interrupts.
            time.sleep(0.06)
            os.kill(watch.pid, signal.SIGCONT)
            os.waitpid(watch.pid, os.WCONTINUED)
        watch.terminate()
        said = watch.stdout.read().splitlines()
        assert len(said) == 2 and "SIGTERM" in said[0] and said[1] == "ended", said
        assert watch.wait(10) == 0


@contextmanager
def importing(*prefix: str) -> "Iterator[subprocess.Popen[str]]":
    """A worker that imports its handlers."""
    with subprocess.Popen([*prefix, sys.executable, "-c", IMPORTING], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "imports\n"
            yield worker
        finally:
            worker.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_import_ends_at_a_signal_to_stop(number: signal.Signals) -> None:
    with importing() as worker:
        worker.send_signal(number)
        assert worker.wait(10) == -number


@pytest.mark.skipif(
    subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no PID namespaces here",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_import_of_the_first_process_of_a_container_ends_too(number: signal.Signals) -> None:
    with importing(*IN_A_NAMESPACE) as unshare:
        (worker,) = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
        os.kill(int(worker), number)
        assert unshare.wait(10) == 128 + number
