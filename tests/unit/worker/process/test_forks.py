"""A forked child has the signal handlers of any program, and no way to wake the loop of its parent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acked_worker.process.signals import is_from_within_tree

TESTS = Path(__file__).resolve().parents[3]
CHILD = """
import os, signal, socket, sys, threading
from acked_common.runtime.inheritance import close_in_children
from acked_worker.process.forks import guard_forks

woken, wake = socket.socketpair()
woken.setblocking(False)
wake.setblocking(False)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.set_wakeup_fd(wake.fileno())
listener = socket.socket()
close_in_children(listener.fileno())
{guard}
ready, go = os.pipe()
def in_a_thread():
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(listener.fileno())
            os._exit(11)
        except OSError:
            pass
        if signal.pthread_sigmask(signal.SIG_BLOCK, []):
            os._exit(12)
        os.write(go, b"+")
        signal.pause()
        os._exit(13)
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
try:
    print(woken.recv(10))
except BlockingIOError:
    print("quiet")
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def output_of(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_signal_to_a_forked_child_ends_it_and_wakes_nobody() -> None:
    for _ in range(20):
        assert output_of(CHILD.format(guard="guard_forks()")) == ["-15", "quiet", "set()"]


def test_signal_at_the_moment_of_the_fork_ends_the_child() -> None:
    """The child is signalled before Python's own code runs in it."""
    program = """
import os, signal, socket, threading
from acked_worker.process.forks import guard_forks

woken, wake = socket.socketpair()
woken.setblocking(False)
wake.setblocking(False)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.set_wakeup_fd(wake.fileno())
# Registered earlier, so it runs first in the child: the hooks of the guard have not run yet.
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
guard_forks()
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(13)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
try:
    print(woken.recv(10))
except BlockingIOError:
    print("quiet")
"""
    for _ in range(20):
        assert output_of(program) == ["-15", "quiet"]


@pytest.mark.parametrize("pid", [0, 1])
def test_sender_outside_of_the_container_is_outside(pid: int) -> None:
    assert not is_from_within_tree(pid)


def test_sender_above_is_outside_and_below_is_within() -> None:
    program = """
import os, subprocess, sys
from acked_worker.process.signals import is_from_within_tree
child = subprocess.Popen(["sleep", "60"])
print(is_from_within_tree(os.getppid()), is_from_within_tree(os.getpid()), is_from_within_tree(child.pid))
child.kill()
child.wait()
print(is_from_within_tree(child.pid))
"""
    assert output_of(program) == ["False True True", "True"]


def test_sender_whose_parent_has_ended_is_within(tmp_path: Path) -> None:
    """Its group still is that of the worker, which leads one as the supervisor starts it."""
    program = f"""
import os, subprocess, time, pathlib
from acked_worker.process.signals import is_from_within_tree
os.setpgrp()
subprocess.run(["sh", "-c", "sleep 60 & echo $! > {tmp_path}/pid"])
pid = int(pathlib.Path("{tmp_path}/pid").read_text())
print(is_from_within_tree(pid))
os.kill(pid, 9)
"""
    assert output_of(program) == ["True"]


def test_context_in_a_forked_child_holds_up_nobody() -> None:
    """Its fence would never open, and the lock of its progress may be held by a thread that does not exist there."""
    program = """
import os, threading
from acked import Context
from acked_worker.execute.attempt import RunningAttempt
from acked_worker.process.forks import guard_forks
from acked_worker.execute.executor import _UNKNOWN
from support.executor import assignment

def never(*_):
    threading.Event().wait()

guard_forks()
context = Context(RunningAttempt(assignment("demo"), _UNKNOWN, 0.0, never, never))
pid = os.fork()
if pid == 0:
    os._exit(7 if context.cancelled is False and context.progress(0.5) is None else 8)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert output_of(program) == ["7"]
