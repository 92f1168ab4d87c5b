"""`Idempotency-Key` as a client sees it: a request that is sent again is kept once, whatever happens in between."""

import asyncio
import http.client
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from acked_common.model.lifecycle import State
from support.contract import assert_problem
from support.freezing import freeze
from support.stacks import Answer, TestStack, eventually

ROUNDS = int(os.environ.get("ACKED_TEST_ROUNDS", "1"))
INTAKES = 3
CALLS = 200


def send(stack: TestStack, key: str, *, to: str = "intake", **fields: Any) -> Answer:
    return stack.call("POST", "/process", {"kind": "noop", **fields}, to=to, headers={"Idempotency-Key": key})


def new_key() -> str:
    return str(uuid4())


def test_the_same_request_again_gets_the_answer_of_the_first(stack: TestStack) -> None:
    key, batch = new_key(), f"b-{uuid4().hex}"
    first = send(stack, key, payload={"a": 1, "b": [2]}, batch=batch)
    assert first.status == 202
    assert "idempotency-replayed" not in first.headers
    done = stack.finished(first.body["id"])

    # Written in another way, and behind its end.
    text = b'{"payload": {"b": [ 2 ], "a": 1}, "tags": null, "batch": "%s", "kind": "noop"}' % batch.encode()
    for sent_key in (key, f'"{key}"'):
        again = stack.call("POST", "/process", text, to="intake", headers={"Idempotency-Key": sent_key})
        assert (again.status, again.headers["idempotency-replayed"]) == (202, "true")
        assert again.raw == first.raw
        assert again.body["state"] == State.QUEUED
        assert [again.headers[name] for name in ("location", "retry-after", "content-type")] == [
            first.headers[name] for name in ("location", "retry-after", "content-type")
        ]

    assert stack.status(first.body["id"]) == done
    assert stack.batch(batch) == {State.SUCCEEDED: 1}


def test_another_request_with_the_key_is_refused_and_changes_nothing(stack: TestStack) -> None:
    key, batch = new_key(), f"b-{uuid4().hex}"
    first = send(stack, key, payload=1, batch=batch)
    assert first.status == 202
    for other in ({"payload": 2}, {"payload": 1, "delay_s": 1}, {"payload": 1, "kind": "demo"}, {}):
        answer = send(stack, key, **{"batch": batch, **other})
        document = assert_problem(stack, answer, 422, "idempotency-key-reused", says="new key")
        assert document["id"] == first.body["id"]
    assert send(stack, key, payload=1, batch=batch).body == first.body
    stack.finished(first.body["id"])
    assert stack.batch(batch) == {State.SUCCEEDED: 1}


def test_a_refused_request_binds_no_key(stack: TestStack) -> None:
    key = new_key()
    assert_problem(stack, send(stack, key, max_attempts=0), 422, "invalid-field")
    assert_problem(stack, send(stack, key, kind="test.nobody"), 422, "unknown-kind")
    answer = stack.call("POST", "/process", b"{", to="intake", headers={"Idempotency-Key": key})
    assert_problem(stack, answer, 400, "bad-json")
    answer = send(stack, key, payload="at last")
    assert answer.status == 202
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "a/b", '"', '"a', "a,b"])
def test_a_key_that_can_not_be_used_is_refused(stack: TestStack, key: str) -> None:
    assert_problem(stack, send(stack, key), 400, "bad-idempotency-key", says="1 to 255")


def test_two_keys_are_refused(stack: TestStack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.intake_port, timeout=10)
    connection.putrequest("POST", "/process")
    for _ in range(2):
        connection.putheader("Idempotency-Key", "a")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    assert_problem(stack, answer, 400, "bad-idempotency-key", says="more than one")


def test_a_key_outlives_the_intake(stack: TestStack) -> None:
    key = new_key()
    first = send(stack, key, delay_s=600)
    pid = stack.stack.parts.pid("intake-1")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: stack.stack.parts.pid("intake-1") not in (0, pid), within_s=20, what="intake is started again")
    again = eventually(lambda: _if_accepted(send(stack, key, delay_s=600)), within_s=20, what="accepted")
    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
    assert stack.call("POST", f"/jobs/{first.body['id']}/cancel").status == 200
    # An ended job holds its key too.
    assert send(stack, key, delay_s=600).body == first.body


def _if_accepted(answer: Answer) -> Answer | None:
    return answer if answer.status == 202 else None


def test_while_mongodb_hangs_a_key_makes_repeating_safe(stack: TestStack) -> None:
    key, batch = new_key(), f"b-{uuid4().hex}"
    mongod = stack.stack.parts.pid("mongod")
    freeze(mongod)
    try:
        answers = [send(stack, key, batch=batch) for _ in range(3)]
    finally:
        os.kill(mongod, signal.SIGCONT)
    assert {answer.status for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    for answer in answers:
        name = answer.body["type"].rpartition("/")[2]
        assert name in ("outcome-unknown", "not-accepted")
        assert name != "outcome-unknown" or "same Idempotency-Key is safe" in answer.body["detail"]

    kept = eventually(lambda: _if_accepted(send(stack, key, batch=batch)), within_s=30, what="accepted")
    stack.finished(kept.body["id"])
    again = send(stack, key, batch=batch)
    assert (again.body["id"], again.headers["idempotency-replayed"]) == (kept.body["id"], "true")
    assert stack.batch(batch) == {State.SUCCEEDED: 1}


@pytest.fixture(scope="module")
def scaled(stack: TestStack) -> Iterator[TestStack]:
    stack.stack.scale({"intake": INTAKES})
    try:
        yield stack
    finally:
        stack.stack.scale({"intake": 1})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of many with the same key; `status` is 0 where the connection broke."""

    asked: int
    status: int
    headers: Mapping[str, str]
    body: Any


async def send_many(stack: TestStack, key: str, bodies: list[dict[str, Any]], *, kill: str | None) -> list[Call]:
    """200 calls at once, in turn to each intake and with each body; one intake is killed when the first is answered."""
    ports = [stack.port(f"intake-{n + 1}") for n in range(INTAKES)]
    pid = stack.stack.parts.pid(kill) if kill else 0
    texts = [json.dumps(body).encode() for body in bodies]
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}

    async def call(session: aiohttp.ClientSession, number: int) -> Call:
        nonlocal pid
        asked = number // INTAKES % len(bodies)
        url = f"http://127.0.0.1:{ports[number % INTAKES]}/process"
        try:
            async with session.post(url, data=texts[asked], headers=headers) as answer:
                told = Call(asked, answer.status, answer.headers, await answer.json(content_type=None))
        except (aiohttp.ClientError, OSError):
            return Call(asked, 0, {}, None)
        if pid:
            os.kill(pid, signal.SIGKILL)
            pid = 0
        return told

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        return await asyncio.gather(*(call(session, number) for number in range(CALLS)))


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kill", [None, "intake-2"])
@pytest.mark.parametrize("different", [1, 2, 5])
async def test_one_key_over_three_intakes_is_one_job(
    scaled: TestStack, different: int, kill: str | None, round_: int
) -> None:
    key, batch = new_key(), f"b-{uuid4().hex}"
    bodies = [{"kind": "noop", "payload": {"n": n}, "batch": batch} for n in range(different)]
    killed = scaled.stack.parts.pid(kill) if kill else 0

    calls = await send_many(scaled, key, bodies, kill=kill)

    counts = Counter(call.status for call in calls)
    # Only calls to the intake that was killed may have no answer.
    assert counts.keys() <= ({202, 422, 0} if kill else {202, 422}), counts
    if kill:
        eventually(lambda: scaled.stack.parts.pid(kill) not in (0, killed), within_s=30, what=f"{kill} is back")
        eventually(
            lambda: scaled.stack.parts.readiness(kill) in ("ready", "degraded"), within_s=30, what=f"{kill} is ready"
        )
    told = [call for call in calls if call.status]
    accepted = [call for call in told if call.status == 202]
    (job_id,) = {call.body["id"] for call in accepted} | {call.body["id"] for call in told if call.status == 422}
    (asked,) = {call.asked for call in accepted}
    assert all((call.status == 202) == (call.asked == asked) for call in told), counts
    assert all(call.body["type"] == "/problems/idempotency-key-reused" for call in told if call.status == 422)
    # The one that was not replayed may be among those that nobody heard.
    assert sum("Idempotency-Replayed" not in call.headers for call in accepted) <= 1
    if not kill:
        assert sum("Idempotency-Replayed" not in call.headers for call in accepted) == 1
    for n in range(INTAKES):
        for number, body in enumerate(bodies):
            again = scaled.call("POST", "/process", body, to=f"intake-{n + 1}", headers={"Idempotency-Key": key})
            assert (again.status, again.body["id"]) == (202 if number == asked else 422, job_id)
            assert again.headers.get("idempotency-replayed") == ("true" if number == asked else None)
    assert scaled.finished(job_id)["state"] == State.SUCCEEDED
    assert scaled.batch(batch) == {State.SUCCEEDED: 1}
