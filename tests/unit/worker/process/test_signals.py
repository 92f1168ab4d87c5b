"""The main thread of a worker waits for signals, whatever happens to the process meanwhile."""

import os
import signal
import subprocess
import sys
import time

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
