"""Pausing a kind on running processes: within two seconds nothing starts, nothing is refused, nothing is lost."""

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from acked_common.model.lifecycle import Reason, State
from support.contract import assert_problem, instant, workers
from support.stacks import StartStack, TestStack, eventually

NONCE = os.environ.get("ACKED_TEST_NONCE") or secrets.token_hex(6)
SCALE = {"worker": 2}
KIND, OTHER = "test.echo", "noop"
LABEL = f'{{kind="{KIND}"}}'
WITHIN_S = 2.0
EXPIRES_IN_S = 3.0
LASTS_S = 9.0
"""Longer than a job with `EXPIRES_IN_S` could wait, and than a killed worker needs to come back."""
WHY = f"the echo is too loud {NONCE}"


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({}, SCALE)


class Claims:
    """The claims of one kind on the feed, in order."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.is_live = threading.Event()


@contextmanager
def followed(stack: TestStack, kind: str) -> Iterator[Claims]:
    """Follow the kind on the feed, in a thread."""
    claims = Claims()
    with connect(f"ws://127.0.0.1:{stack.gateway_port}/ws/feed", proxy=None, max_size=None) as line:

        def read() -> None:
            try:
                for text in line:
                    frame = json.loads(text)
                    if frame["type"] == "snapshot":
                        claims.is_live.set()
                    claims.events += [e for e in frame.get("events", ()) if e.get("reason") == Reason.CLAIMED]
            except ConnectionClosed:
                pass

        line.send(json.dumps({"type": "subscribe", "sub": "s", "scope": {"kind": kind}}))
        reader = threading.Thread(target=read, name="feed", daemon=True)
        reader.start()
        assert claims.is_live.wait(10)
        yield claims
    reader.join(10)


def submit(stack: TestStack, batch: str, **fields: Any) -> str:
    return stack.process(KIND, payload={"nonce": NONCE, "n": batch}, batch=batch, **fields)


def submit_for(stack: TestStack, seconds: float, batch: str) -> list[str]:
    """Submit a few jobs a second, all of which must be accepted."""
    end, ids = time.monotonic() + seconds, []
    pace = threading.Event()
    while time.monotonic() < end:
        ids.append(submit(stack, batch))
        pace.wait(0.05)
    return ids


def paused(stack: TestStack, to: str = "gateway") -> Any:
    kinds = stack.call("GET", "/kinds", to=to).body["kinds"]
    return next(kind["paused"] for kind in kinds if kind["kind"] == KIND)


def kill_a_worker(stack: TestStack) -> str:
    """Kill one worker; return the instance of the one that took its place."""
    before = {worker["instance"] for worker in stack.call("GET", "/workers").body["workers"]}
    os.kill(stack.stack.parts.pid("worker-1"), signal.SIGKILL)

    def anew() -> Any:
        found = [w for w in stack.call("GET", "/workers").body["workers"] if w["instance"] not in before]
        return found and stack.stack.parts.readiness("worker-1") in ("ready", "degraded") and found[0]["instance"]

    return str(eventually(anew, within_s=30, what="another worker-1 is ready"))


def check_ran_once(stack: TestStack, job_id: str) -> Any:
    done = stack.finished(job_id, 60)
    assert (done["state"], done["attempt"], done["run"]) == (State.SUCCEEDED, 1, 1), done
    reasons = [line["reason"] for line in done["history"] if line["reason"] != Reason.DUE]
    assert reasons == [Reason.ACCEPTED, Reason.CLAIMED, Reason.COMPLETED]
    assert done["result"]["payload"]["nonce"] == NONCE
    return done


def test_a_paused_kind_starts_nothing_and_goes_on_where_it_stood(stack: TestStack) -> None:
    batch = f"pause-{NONCE}"
    with followed(stack, KIND) as claims:
        before = submit_for(stack, 1.0, batch)
        response = stack.call("POST", f"/kinds/{KIND}/pause", {"reason": WHY})
        assert response.status == 200, response.raw
        since_at = instant(response.body["paused"]["since"])
        assert response.body["paused"] == {
            "client": "local",
            "token_id": None,
            "reason": WHY,
            "since": response.body["paused"]["since"],
        }
        stops_at = since_at + timedelta(seconds=WITHIN_S)
        meanwhile = submit_for(stack, WITHIN_S, batch)
        # All of these would expire during the pause, one of them after a delay.
        late = [submit(stack, batch, expires_in_s=EXPIRES_IN_S) for _ in range(10)]
        late.append(submit(stack, batch, delay_s=1.0, expires_in_s=EXPIRES_IN_S))
        assert stack.finished(stack.process(OTHER))["state"] == State.SUCCEEDED, "other kinds run"
        fresh = kill_a_worker(stack)
        meanwhile += submit_for(stack, LASTS_S - WITHIN_S, batch)

        # All claims are on the feed by now, because a later claim of another kind is.
        assert not [event for event in claims.events if instant(event["at"]) > stops_at]
        assert fresh in {worker["instance"] for worker in stack.call("GET", "/workers").body["workers"]}
        hint = f"kind {KIND!r} is paused by local since {response.body['paused']['since']}: {WHY}"
        for service in ("gateway", "intake"):
            status = stack.status(meanwhile[-1], to=service)
            assert (status["state"], status["hint"]) == (State.QUEUED, hint)
            assert paused(stack, service) == response.body["paused"]
        assert stack.metric("acked_kind_paused", LABEL) == 1
        for job_id in late:
            assert stack.status(job_id)["state"] == State.QUEUED
        for worker in ("worker-1", "worker-2"):
            assert stack.stack.parts.readiness(worker) in ("ready", "degraded")

        # A second pause keeps the first.
        again = stack.call("POST", f"/kinds/{KIND}/pause", {"reason": "another"})
        assert (again.status, again.body["paused"]) == (200, response.body["paused"])
        assert stack.call("POST", f"/kinds/{KIND}/resume").body["paused"] is None
        for job_id in [*before, *late, *meanwhile]:
            check_ran_once(stack, job_id)
        assert stack.call("POST", f"/kinds/{KIND}/resume").status == 200
    ids = {*before, *late, *meanwhile}
    assert {event["id"] for event in claims.events} == ids
    assert len(claims.events) == len(ids), "each was claimed once"
    assert stack.batch(batch) == {State.SUCCEEDED: len(ids)}
    assert stack.metric("acked_kind_paused", LABEL) == 0


def test_what_runs_goes_on_while_its_kind_is_paused(stack: TestStack) -> None:
    kind = "demo"
    running = stack.process(kind, payload={"seconds": 3, "nonce": NONCE})
    assert stack.status(running, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    assert stack.call("POST", f"/kinds/{kind}/pause").status == 200
    try:
        done = stack.finished(running)
        assert (done["state"], done["attempt"]) == (State.SUCCEEDED, 1)
    finally:
        assert stack.call("POST", f"/kinds/{kind}/resume").status == 200


def test_who_paused_stands_in_the_audit(stack: TestStack) -> None:
    assert stack.call("POST", f"/kinds/{OTHER}/pause", {"reason": WHY}).status == 200
    assert stack.call("POST", f"/kinds/{OTHER}/resume").status == 200
    entries = stack.call("GET", "/audit?page_size=2").body["entries"]
    assert [(e["action"], e["client"], e["target"], e.get("reason")) for e in entries] == [
        ("resume", "local", {"kind": OTHER}, None),
        ("pause", "local", {"kind": OTHER}, WHY),
    ]


def test_what_can_not_be_paused_is_refused(stack: TestStack) -> None:
    unknown = stack.call("POST", f"/kinds/no-such-kind-{NONCE}/pause")
    assert_problem(stack, unknown, 404, "not-found")
    assert {KIND, OTHER} <= set(unknown.body["known_kinds"])
    assert_problem(stack, stack.call("POST", f"/kinds/{KIND}/pause", {"reson": WHY}), 422, "invalid-field")
    assert paused(stack) is None
    assert set(workers(stack)) == {"worker-1", "worker-2"}
