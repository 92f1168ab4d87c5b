"""A failed attempt is one line in its worker's log; many alike are few lines that add up. Groups survive restarts."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from acked_common.model.lifecycle import State
from support.nonce import nonce
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

MANY = 10_000
MOST_LINES = 200
SENDERS = 32


def log_of(stack: TestStack, part: str) -> str:
    file = stack.stack.layout.logs / f"{part}.log"
    return file.read_text() if file.exists() else ""


def lines(stack: TestStack, kind: str, event: str = "attempt failed", *, part: str = "worker-1") -> list[Any]:
    """The lines of a kind's failed attempts."""
    found = [json.loads(line) for line in log_of(stack, part).splitlines() if f'"{event}"' in line]
    return [line for line in found if line["event"] == event and line["kind"] == kind]


def varied(mark: str, **fields: Any) -> dict[str, Any]:
    """A payload of which every part is another one each time."""
    number = secrets.randbelow(10**9)
    return {
        "number": number,
        "id": str(uuid4()),
        "url": f"https://{secrets.token_hex(4)}.example/{mark}?n={number}",
        "name": f"{mark}-{secrets.token_hex(3)}",
        "s": number / 1000,
        **fields,
    }


def failed(stack: TestStack, kind: str, payload: Any) -> Any:
    """A job that has failed."""
    done = stack.finished(stack.process(kind, payload=payload))
    assert done["state"] == State.FAILED
    return done


def test_a_failing_handler_is_one_line_within_a_second(stack: TestStack) -> None:
    mark = nonce()
    done = failed(stack, "test.no-order", varied(mark))
    seen_at = time.monotonic()
    (line,) = eventually(lambda: lines(stack, "test.no-order"), within_s=1.0, what="the log shows the failure")
    assert time.monotonic() - seen_at < 1.0
    assert (line["job_id"], line["attempt"], line["worker"]) == (done["id"], 1, "worker-1")
    assert (line["group"], line["type"]) == (done["error"]["group"], "ValueError")
    assert (line["level"], line["reason"], line["will_retry_in_s"]) == ("warning", "attempts_exhausted", None)
    assert line["culprit"] == "failing_kinds.no_order: raise ValueError(_text(payload))  # the first line"
    assert mark not in log_of(stack, "worker-1")


def test_an_attempt_that_is_retried_says_when(stack: TestStack) -> None:
    done = stack.finished(stack.process("test.stumbles", payload={"nonce": nonce()}))
    assert done["state"] == State.SUCCEEDED
    found = eventually(lambda: lines(stack, "test.stumbles"), within_s=1.0, what="the log shows both failures")
    assert [(line["job_id"], line["level"]) for line in found] == [(done["id"], "info")] * 2
    assert all(0 <= line["will_retry_in_s"] <= 0.2 for line in found)


async def _send(stack: TestStack, bodies: Sequence[bytes]) -> None:
    waiting = list(bodies)
    url = f"http://127.0.0.1:{stack.intake_port}/process"

    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

        async def sender() -> None:
            while waiting:
                async with session.post(url, data=waiting.pop()) as response:
                    assert response.status == 202, await response.text()

        await asyncio.gather(*(sender() for _ in range(SENDERS)))


@pytest.mark.long
def test_ten_thousand_failures_are_few_lines_that_add_up(stack: TestStack) -> None:
    mark = nonce()
    batch = f"many-{uuid4().hex}"
    body = {"kind": "test.no-user", "batch": batch}
    asyncio.run(_send(stack, [json.dumps({**body, "payload": varied(mark)}).encode() for _ in range(MANY)]))
    eventually(lambda: stack.batch(batch).get(State.FAILED) == MANY, within_s=50, what="all have failed")
    # At its stop a worker reports what it has left out.
    stack.stack.parts.stop("worker-1")
    found = lines(stack, "test.no-user")
    stack.stack.parts.start("worker-1")
    assert len(found) <= MOST_LINES
    assert sum(1 + line["left_out"] for line in found) == MANY
    assert len({line["group"] for line in found}) == 1
    assert mark not in log_of(stack, "worker-1")
    eventually(lambda: stack.stack.parts.readiness("worker-1") == "ready", within_s=30, what="the worker is back")


def groups(stack: TestStack, mark: str) -> Counter[str]:
    """The groups of what three handlers and four lines of code make of random numbers, ids, names and URLs."""
    found: Counter[str] = Counter()
    for _ in range(4):
        for kind, more in (
            ("test.no-order", {}),
            ("test.no-user", {}),
            ("test.no-page", {}),
            ("test.no-order", {"line": 2}),
        ):
            found[failed(stack, kind, varied(mark, **more))["error"]["group"]] += 1
    return found


def test_groups_are_the_lines_of_code_and_survive_a_restart_of_all(stack: TestStack) -> None:
    mark = nonce()
    before = groups(stack, mark)
    assert sorted(before.values()) == [4, 4, 4, 4]
    assert not [group for group in before if mark in group]
    stack.stack.restart(told=lambda line: None)
    assert groups(stack, mark) == before


def test_an_attempt_that_is_lost_is_a_line_of_the_sweeper(stack: TestStack) -> None:
    job_id = stack.process("test.hangs", payload={"nonce": (mark := nonce())})
    assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    stack.stack.parts.kill("worker-1")

    def told() -> list[Any]:
        parts = [file.stem for file in stack.stack.layout.logs.glob("*.log")]
        return [line for part in parts for line in lines(stack, "test.hangs", "attempt lost", part=part)]

    (line,) = eventually(told, within_s=30, what="a sweeper logs the loss")
    assert (line["job_id"], line["attempt"], line["worker"], line["level"]) == (job_id, 1, "worker-1", "warning")
    status = stack.status(job_id)
    (kept,) = status["attempts"]
    assert (kept["outcome"], kept["worker"], kept["error"]["group"]) == ("lost", "worker-1", line["group"])
    assert not [part for part in ("worker-1", "gateway-1", "intake-1") if mark in log_of(stack, part)]
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
