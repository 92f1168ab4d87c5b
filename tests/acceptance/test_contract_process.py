"""`POST /process` as a client sees it: what each field does, the answer, and payloads that come back as they were."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from support.contract import CLOCKS_DIFFER, UUID7, assert_problem, instant
from support.stacks import TestStack

PAYLOADS: list[Any] = [
    None,
    True,
    0,
    -0.5,
    1e300,
    2**63 - 1,
    "",
    "text with \0 and \u2028 and \U0001f600",
    [],
    {},
    {"": 1, "$where": "sleep(5000)", "$set": {"state": "x"}, "a.b": 1, ".": {"$": 0}, "_id": 1, "__proto__": []},
    {"$where": "while(true){}", "x": "$secret", "y": {"$function": {"body": "f", "args": [], "lang": "js"}}},
    {"x": "$$ROOT", "y": ["$payload", "{{7*7}}", "${7*7}", "%(a)s", "'; drop table jobs; --"]},
]


def test_the_answer_says_what_was_accepted_and_where_to_ask(stack: TestStack) -> None:
    answer = stack.call("POST", "/process", {"kind": "noop", "payload": {"order": 7}}, to="intake")

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    body = answer.body
    assert body.keys() == {"id", "state", "kind", "accepted_at", "links"}
    assert UUID7.fullmatch(body["id"])
    assert body["state"] == State.QUEUED
    assert body["kind"] == "noop"
    assert answer.headers["location"] == f"/status/{body['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert body["links"] == {
        "status": f"/status/{body['id']}",
        "feed": f"ws://localhost:{stack.gateway_port}/ws/feed",
    }
    followed = stack.call("GET", answer.headers["location"], to="intake")
    assert followed.body["id"] == body["id"]
    assert followed.body["accepted_at"] == body["accepted_at"]
    assert instant(body["accepted_at"])


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_an_empty_body_asks_for_a_demo(stack: TestStack, headers: dict[str, str]) -> None:
    answer = stack.call("POST", "/process", headers=headers, to="intake")
    assert answer.status == 202, answer.raw
    assert answer.body["kind"] == "demo"
    assert stack.call("GET", f"/jobs/{answer.body['id']}").body["payload"] == {}


@pytest.mark.parametrize("body", [None, b"", b" \r\n\t "])
def test_an_empty_body_that_was_lost_is_refused(stack: TestStack, body: bytes | None) -> None:
    keyed = {"Content-Type": "application/json", "Idempotency-Key": uuid4().hex}
    for headers in ({"Content-Type": "application/json"}, keyed):
        answer = stack.call("POST", "/process", body, headers=headers, to="intake")
        document = assert_problem(stack, answer, 400, "empty-body")
        assert document["example"] in document["detail"]
    if not body:
        answer = stack.call("POST", "/process", headers={"Idempotency-Key": uuid4().hex}, to="intake")
        assert_problem(stack, answer, 400, "empty-body")


def test_get_is_refused_with_a_line_to_copy(stack: TestStack) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = stack.call(method, "/process", to="intake")
        document = assert_problem(stack, answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"
        line = f"curl -H 'Content-Type: application/json' -d '{{\"kind\": \"demo\"}}' http://127.0.0.1:{stack.intake_port}/process"
        assert document["example"] == line
        assert line in document["detail"]


def test_payload_batch_and_tags_reach_the_handler(stack: TestStack) -> None:
    batch = f"b-{uuid4().hex}"
    tags = ["customer:7", "Ünïcode tag", "$tag"]
    job_id = stack.process("test.echo", payload={"a": [1, None]}, batch=batch, tags=tags)

    done = stack.finished(job_id)

    assert done["state"] == State.SUCCEEDED
    result = done["result"]
    assert 0 < result.pop("remaining_s") <= 900
    assert result == {
        "payload": {"a": [1, None]},
        "kind": "test.echo",
        "run": 1,
        "attempt": 1,
        "batch": batch,
        "tags": tags,
        "idempotency_key": f"{job_id}:1",
    }
    assert (done["batch"], done["tags"]) == (batch, tags)
    assert stack.batch(batch) == {State.SUCCEEDED: 1}


def test_delay_s_puts_the_start_off(stack: TestStack) -> None:
    answer = stack.call("POST", "/process", {"kind": "noop", "delay_s": 1.2}, to="intake")
    assert answer.status == 202
    assert answer.body["state"] == State.SCHEDULED
    waiting = stack.status(answer.body["id"])
    assert waiting["state"] == State.SCHEDULED
    accepted_at, due_at = instant(waiting["accepted_at"]), instant(waiting["due_at"])
    assert due_at - accepted_at == timedelta(seconds=1.2)

    done = stack.finished(answer.body["id"])

    assert done["state"] == State.SUCCEEDED
    assert instant(done["started_at"]) >= due_at - CLOCKS_DIFFER
    assert instant(done["started_at"]) - due_at < timedelta(seconds=3)


@pytest.mark.parametrize(("delay_s", "retry_after"), [(0, "1"), (0.2, "1"), (90, "90"), (31_536_000, "3600")])
def test_retry_after_fits_the_delay(stack: TestStack, delay_s: float, retry_after: str) -> None:
    answer = stack.call("POST", "/process", {"kind": "noop", "delay_s": delay_s}, to="intake")
    assert answer.status == 202
    assert answer.headers["retry-after"] == retry_after


def test_max_attempts_limits_the_failures(stack: TestStack) -> None:
    once = stack.process("test.fails", max_attempts=1)
    twice = stack.process("test.fails", max_attempts=2)
    by_kind = stack.process("test.fails")
    for job_id, failures in ((once, 1), (twice, 2), (by_kind, 3)):
        done = stack.finished(job_id)
        assert (done["state"], done["reason"]) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
        assert (done["failures"], done["attempt"]) == (failures, failures)


def test_timeout_s_ends_an_attempt(stack: TestStack) -> None:
    job_id = stack.process("test.hangs", timeout_s=0.3, max_attempts=1)
    done = stack.finished(job_id)
    assert done["state"] == State.FAILED
    assert done["error"]["type"] == "TimedOut"
    assert "0.3 s" in done["error"]["message"]
    took = instant(done["finished_at"]) - instant(done["started_at"])
    assert timedelta(seconds=0.29) <= took < timedelta(seconds=3)


def test_expires_in_s_ends_what_nobody_starts(stack: TestStack) -> None:
    stack.stack.scale({"worker": 0})
    try:
        job_id = stack.process("noop", expires_in_s=0.5)
        done = stack.finished(job_id)
    finally:
        stack.stack.scale({"worker": 1})
    assert (done["state"], done["reason"], done["attempt"]) == (State.FAILED, Reason.EXPIRED, 0)
    waited = instant(done["finished_at"]) - instant(done["accepted_at"])
    assert timedelta(seconds=0.5) <= waited < timedelta(seconds=5)


def test_null_means_not_asked_for(stack: TestStack) -> None:
    optional = ("delay_s", "batch", "tags", "max_attempts", "timeout_s", "expires_in_s")
    job_id = stack.process("test.echo", payload=None, **dict.fromkeys(optional))
    result = stack.finished(job_id)["result"]
    assert (result["payload"], result["batch"], result["tags"]) == (None, None, [])


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_payload_is_kept_unchanged_and_never_evaluated(stack: TestStack, payload: Any) -> None:
    job_id = stack.process("test.echo", payload=payload)
    done = stack.finished(job_id)
    assert done["state"] == State.SUCCEEDED
    assert done["result"]["payload"] == payload
    job = stack.call("GET", f"/jobs/{job_id}")
    assert job.body["payload"] == payload
    assert type(job.body["payload"]) is type(payload)


def test_a_payload_keeps_the_text_of_its_numbers(stack: TestStack) -> None:
    text = b'{"price": 1.10, "n": 1E2, "big": 0.1000000000000000055511151231257827, "order": {"b": 1, "a": 2}}'
    answer = stack.call("POST", "/process", b'{"kind": "noop", "payload": %s}' % text, to="intake")
    assert answer.status == 202, answer.raw
    assert text in stack.call("GET", f"/jobs/{answer.body['id']}").raw


def test_a_payload_at_the_limits_is_taken(stack: TestStack) -> None:
    deepest = json.loads("[" * 31 + "]" * 31)
    job_id = stack.process("test.echo", payload=deepest)
    assert stack.finished(job_id)["result"]["payload"] == deepest
    around = len(b'{"kind": "test.echo", "payload": ""}')
    largest = "x" * (256 * 1024 - around)
    job_id = stack.process("test.echo", payload=largest)
    assert stack.finished(job_id)["result"]["payload"] == largest
