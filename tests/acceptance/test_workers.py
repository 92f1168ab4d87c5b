"""Workers as processes: hanging and blocking handlers, tries, threads, draining, and handlers that can't be loaded."""

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from acked_common.accounts.grants import Account
from acked_common.model.lifecycle import Reason, State
from deploy.native.launch import service_environment
from deploy.native.layout import ROOT
from support.contract import CLOCKS_DIFFER, assert_problem, instant, workers
from support.stacks import QUICK, TestStack, eventually

DRAIN_S = 2.0


def all_running(stack: TestStack, ids: list[str]) -> None:
    for job_id in ids:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING


def reasons(status: Any) -> list[str]:
    return [entry["reason"] for entry in status["history"]]


# What handlers do.


@pytest.mark.parametrize("kind", ["test.hangs", "test.hangs-in-thread"])
def test_a_handler_that_hangs_ends_by_its_timeout(stack: TestStack, kind: str) -> None:
    job_id = stack.process(kind, timeout_s=0.4, max_attempts=2)
    done = stack.finished(job_id)
    assert (done["state"], done["reason"]) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    assert (done["attempt"], done["failures"]) == (2, 2)
    error = done["error"]
    assert (error["type"], error["retryable"], error["attempt"]) == ("TimedOut", True, 2)
    last_run = instant(done["finished_at"]) - instant(done["started_at"])
    assert timedelta(seconds=0.39) <= last_run < timedelta(seconds=4)
    if kind == "test.hangs-in-thread":
        assert "threading.Event().wait" in error["traceback"], "it says where the function hangs"


def test_threads_that_hang_leave_room_for_others(stack: TestStack) -> None:
    hanging = [stack.process("test.hangs-in-thread", timeout_s=0.4, max_attempts=1) for _ in range(8)]
    for job_id in hanging:
        assert stack.finished(job_id)["error"]["type"] == "TimedOut"
    assert stack.finished(stack.process("test.thread"))["state"] == State.SUCCEEDED


def test_a_handler_that_blocks_its_loop_loses_no_lease(stack: TestStack) -> None:
    lease_s = float(QUICK["ACKED_LEASE_S"])
    blocked_s = 10
    assert blocked_s > 3 * lease_s
    others = [stack.process("demo", payload={"seconds": 4}) for _ in range(5)]
    overdue = stack.process("test.hangs", timeout_s=1.5, max_attempts=1)
    all_running(stack, [*others, overdue])
    blocking = stack.process("test.blocks-loop", payload={"seconds": blocked_s})
    all_running(stack, [blocking])
    late = stack.process("demo", payload={"seconds": 0}, timeout_s=0.5, max_attempts=1)
    # What needs another loop or none goes on meanwhile.
    assert stack.finished(stack.process("test.thread"))["state"] == State.SUCCEEDED
    assert stack.finished(overdue)["error"]["type"] == "TimedOut"
    assert "does not respond" not in stack.stack.parts.readiness("worker-1"), "its plumbing lives"
    assert stack.status(blocking)["state"] == State.RUNNING, "all of that while the loop was blocked"

    done = [stack.finished(job_id) for job_id in (blocking, *others)]

    assert done[0]["result"] >= blocked_s
    for status in done:
        assert (status["state"], status["attempt"], status["failures"]) == (State.SUCCEEDED, 1, 0)
        assert reasons(status) == [Reason.ACCEPTED, Reason.CLAIMED, Reason.COMPLETED]
    # What the blocked loop could not even begin has not failed by that.
    status = stack.finished(late)
    assert (status["state"], status["failures"]) == (State.SUCCEEDED, 0)


def test_a_flaky_handler_is_tried_again_with_growing_pauses(stack: TestStack) -> None:
    done = stack.finished(stack.process("flaky", payload={"failures": 2}))
    assert (done["state"], done["attempt"], done["failures"]) == (State.SUCCEEDED, 3, 2)
    assert done["error"] is None
    assert reasons(done) == [
        Reason.ACCEPTED,
        *(Reason.CLAIMED, Reason.BACKING_OFF, Reason.DUE) * 2,
        Reason.CLAIMED,
        Reason.COMPLETED,
    ]
    failed_at = [instant(entry["at"]) for entry in done["history"] if entry["reason"] == Reason.BACKING_OFF]
    due_at = [instant(entry["at"]) for entry in done["history"] if entry["reason"] == Reason.DUE]
    for n, (failed, due) in enumerate(zip(failed_at, due_at, strict=True)):
        # Full jitter: any delay up to 1 s, then 2 s; the sweeper looks five times a second.
        assert due - failed < timedelta(seconds=2**n + 1.5)


def test_a_handler_may_say_when_to_try_again(stack: TestStack) -> None:
    done = stack.finished(stack.process("test.later", payload={"after_s": 1.2}))
    assert (done["state"], done["attempt"], done["failures"], done["result"]) == (State.SUCCEEDED, 2, 1, 1.2)
    at = {entry["reason"]: instant(entry["at"]) for entry in done["history"]}
    waited = instant(done["started_at"]) - at[Reason.BACKING_OFF]
    assert timedelta(seconds=1.2) - CLOCKS_DIFFER <= waited < timedelta(seconds=5)


def test_a_permanent_error_ends_at_once(stack: TestStack) -> None:
    done = stack.finished(stack.process("test.permanent", max_attempts=10))
    assert (done["state"], done["reason"]) == (State.FAILED, Reason.PERMANENT_ERROR)
    assert (done["attempt"], done["failures"]) == (1, 1)


def test_attempts_run_out(stack: TestStack) -> None:
    done = stack.finished(stack.process("test.fails"))
    assert (done["reason"], done["attempt"], done["failures"]) == (Reason.ATTEMPTS_EXHAUSTED, 3, 3)


def test_plain_functions_run_in_threads_side_by_side(stack: TestStack) -> None:
    result = stack.finished(stack.process("test.thread"))["result"]
    assert result["main"] is False
    payload = {"name": "four at once", "parties": 4}
    ids = [stack.process("test.meets", payload=payload, max_attempts=1) for _ in range(4)]
    assert [stack.finished(job_id)["result"] for job_id in ids] == [True] * 4


def test_a_plain_function_sees_that_its_time_is_up(stack: TestStack, tmp_path: Path) -> None:
    told = tmp_path / "told"
    job_id = stack.process("test.looks", payload={"file": str(told)}, timeout_s=0.3, max_attempts=1)
    done = stack.finished(job_id)
    assert (done["error"]["type"], done["result"]) == ("TimedOut", None)
    eventually(told.exists, within_s=5, what="the function reads ctx.cancelled")


# Worker processes of the tests' own.


def worker_environment(stack: TestStack, name: str, environ: Mapping[str, str]) -> dict[str, str]:
    layout = stack.stack.layout
    inherited = {"PATH": "/usr/bin:/bin", "ACKED_STACK": str(layout.state), "ACKED_WORKER_NAME": name, **QUICK}
    return service_environment(layout, {**inherited, "ACKED_DRAIN_S": str(DRAIN_S), **environ}, Account.WORKER)


@contextmanager
def own_worker(stack: TestStack, name: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that the supervisor knows nothing of, once it is ready."""
    command = [str(stack.stack.layout.venv_python), "-m", "acked_worker"]
    log = stack.stack.layout.logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=worker_environment(stack, name, environ), stdout=output, stderr=output
        )
        try:
            eventually(lambda: name in workers(stack), within_s=20, what=f"{name} works")
            yield process
        finally:
            process.kill()
            process.wait()


def test_sigterm_lets_finish_what_can_and_gives_back_the_rest(stack: TestStack) -> None:
    handlers = {"ACKED_HANDLERS_DIR": str(Path(__file__).parent / "handlers")}
    stack.stack.scale({"worker": 0})
    try:
        with own_worker(stack, "leaves", handlers) as worker:
            short = [stack.process("demo", payload={"seconds": 1}) for _ in range(5)]
            long = [stack.process("demo", payload={"seconds": 3}, max_attempts=1) for _ in range(5)]
            thread = stack.process("test.looks", payload={"file": str(stack.stack.layout.run / "told")})
            hung = stack.process("test.hangs-in-thread", timeout_s=60)
            given_back = [*long, thread, hung]
            all_running(stack, [*short, *given_back])

            worker.send_signal(signal.SIGTERM)
            started = time.monotonic()
            log = stack.stack.layout.logs / "leaves.log"
            eventually(lambda: b'"draining"' in log.read_bytes(), within_s=5, what="the worker knows")
            waits = stack.process("noop")
            assert worker.wait(timeout=20) == 0
            assert time.monotonic() - started < DRAIN_S + 5
            eventually(lambda: "leaves" not in workers(stack), within_s=5, what="it is listed no more")
        for job_id in short:
            status = stack.status(job_id)
            assert (status["state"], status["attempt"]) == (State.SUCCEEDED, 1)
        for job_id in given_back:
            status = stack.status(job_id)
            assert (status["state"], status["reason"], status["attempt"]) == (State.QUEUED, Reason.DRAINED, 1)
            assert (status["failures"], status["error"]) == (0, None)
        assert stack.status(waits)["attempt"] == 0, "a worker that leaves takes nothing more"
        assert stack.call("POST", f"/jobs/{hung}/cancel").body["state"] == State.CANCELLED
        assert stack.call("POST", f"/jobs/{thread}/cancel").body["state"] == State.CANCELLED
    finally:
        stack.stack.scale({"worker": 1})
    for job_id in long:
        status = stack.finished(job_id)
        # One attempt may fail, and a drain is no failure.
        assert (status["state"], status["attempt"], status["failures"]) == (State.SUCCEEDED, 2, 0)
        assert reasons(status).count(Reason.DRAINED) == 1
        assert Reason.LEASE_EXPIRED not in reasons(status)
    assert stack.finished(waits)["state"] == State.SUCCEEDED


def test_a_new_kind_is_known_as_soon_as_a_worker_has_it(stack: TestStack, tmp_path: Path) -> None:
    refused = stack.call("POST", "/process", {"kind": "late.kind"}, to="intake")
    assert_problem(stack, refused, 422, "unknown-kind")
    (tmp_path / "late.py").write_text(
        "from acked import handler\n\n\n"
        '@handler("late.kind", version="7", timeout_s=9)\ndef late(ctx, payload):\n    return payload\n'
    )
    environ = {"ACKED_HANDLERS_DIR": str(tmp_path)}
    with own_worker(stack, "late", environ) as worker:
        job_id = stack.process("late.kind", payload=[1])
        assert stack.finished(job_id)["result"] == [1]
        known = {kind["kind"]: kind for kind in stack.call("GET", "/kinds", to="intake").body["kinds"]}
        assert (known["late.kind"]["version"], known["late.kind"]["timeout_s"]) == ("7", 9.0)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0
    # Kinds are data: they outlive the workers that brought them.
    job_id = stack.process("late.kind", expires_in_s=60)
    eventually(lambda: "late.kind" in stack.status(job_id).get("hint", ""), within_s=10, what="it says who is missing")


BROKEN = {
    "syntax": ("def f(:\n", ["bad.py:1", "can't be read as Python"]),
    "import": ("import no_such_module_at_all\n", ["bad.py:1", "no_such_module_at_all", "install it"]),
    "raises": ("\n\nraise RuntimeError('no licence')\n", ["bad.py:3", "RuntimeError: no licence"]),
    "exits": ("raise SystemExit(0)\n", ["bad.py:1", "ends the process"]),
    "taken": ("from acked import handler\n\n@handler('demo')\ndef f(ctx, p): ...\n", ["'demo'", "already", "replace"]),
    "arguments": ("from acked import handler\n\n@handler('x')\ndef f(p): ...\n", ["bad.py:3", "(ctx, payload)"]),
    "name": ("from acked import handler\n\n@handler('No Name')\ndef f(c, p): ...\n", ["bad.py:3", "'No Name'"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_handler_file_keeps_the_worker_from_starting(stack: TestStack, tmp_path: Path, case: str) -> None:
    source, says = BROKEN[case]
    (tmp_path / "bad.py").write_text(source)
    (tmp_path / "good.py").write_text("from acked import handler\n\n@handler('good')\ndef f(ctx, p): ...\n")
    done = start(stack, {"ACKED_HANDLERS_DIR": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.startswith("acked-worker: ")
    for part in says:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert "broken" not in workers(stack)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ACKED_HANDLER_MODULES": "acked.kinds,shop.jobs"}, ["'shop.jobs' was not found", "PYTHONPATH"]),
        ({"ACKED_RENEWAL_S": "2"}, ["ACKED_RENEWAL_S=2", "a third of ACKED_LEASE_S=3"]),
        ({"ACKED_WORKER_SLOTS": "many", "ACKED_DRAIN_S": "-1"}, ["ACKED_WORKER_SLOTS=many", "ACKED_DRAIN_S=-1"]),
    ],
)
def test_settings_that_mean_nothing_keep_it_from_starting(
    stack: TestStack, environ: dict[str, str], says: list[str]
) -> None:
    done = start(stack, environ)
    assert done.returncode == 2
    for part in says:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def start(stack: TestStack, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A worker that is expected to end by itself."""
    return subprocess.run(
        [str(stack.stack.layout.venv_python), "-m", "acked_worker"],
        cwd=ROOT,
        env=worker_environment(stack, "broken", environ),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
