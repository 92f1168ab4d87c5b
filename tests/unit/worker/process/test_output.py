"""Output of user code has a way of its own, and a bound where it shares a log."""

import subprocess
import sys
import time

from acked_worker.process.output_pump import BURST_BYTES, Allowance

APART = """
import os, subprocess, sys
from acked_worker.process.output import separate_output
own = separate_output({bound})
print("printed", flush=True)
print("to the other stream", file=sys.stderr, flush=True)
subprocess.run(["sh", "-c", "echo of a program >&2"], check=True)
own.write("a line of the worker\\n")
{more}
"""
FLOOD_BYTES = 60 << 20


def run(bound: int, more: str = "") -> tuple[bytes, bytes]:
    program = APART.format(bound=bound, more=more)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    return done.stdout, done.stderr


def test_output_of_user_code_is_apart_from_the_log() -> None:
    assert run(0) == (b"printed\nto the other stream\nof a program\n", b"a line of the worker\n")


def test_bounded_output_arrives_whole_where_it_is_little() -> None:
    assert run(4096) == (b"printed\nto the other stream\nof a program\n", b"a line of the worker\n")


def test_output_before_a_crash_arrives() -> None:
    program = APART.format(bound=4096, more="os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count(b"\n")) == (-9, 3)


def test_flood_is_bounded_and_says_what_is_missing() -> None:
    began = time.monotonic()
    flood = f"piece = b'x' * {1 << 20}\nfor _ in range({FLOOD_BYTES >> 20}):\n    os.write(1, piece)"
    output, log = run(4096, flood)
    took_s = time.monotonic() - began
    assert len(output) < BURST_BYTES + 4096 * took_s + 10_000
    assert b'"event": "output of handlers was left out"' in output
    assert log == b"a line of the worker\n"


def test_flood_that_nobody_reads_holds_up_nobody() -> None:
    program = APART.format(bound=4096, more=f"for _ in range({FLOOD_BYTES >> 16}):\n    os.write(1, b'x' * {1 << 16})")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None


def test_allowance_is_a_burst_and_then_a_rate() -> None:
    allowance = Allowance(1000.0, 0.0)
    assert allowance.take(BURST_BYTES, 0.0)
    assert not allowance.take(1, 0.0)
    assert allowance.take(1000, 1.0)
    assert not allowance.take(501, 1.5)
    assert allowance.take(BURST_BYTES, 1e6)
    assert not allowance.take(BURST_BYTES, 1e6)
