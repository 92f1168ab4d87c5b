"""Bulk actions through the public interface: a preview that holds, a kill of the owner, an abort, a rate.

Each test makes failed jobs of a batch of its own, with a random word in their payloads and messages.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from support.contract import assert_problem, instant
from support.nonce import nonce
from support.stacks import Answer, StartStack, TestStack, eventually

ROUNDS = int(os.environ.get("ACKED_TEST_ROUNDS", "1"))
NONCE = nonce()
UNKNOWN = "01890000-0000-7000-8000-000000000000"
TAKEN_OVER_WITHIN_S = 12.0


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({}, {"gateway": 2})


def failing(stack: TestStack, count: int, batch: str, *, word: str = NONCE) -> list[str]:
    """Failed jobs of one error group."""
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda n: stack.process("test.spills", batch=batch, payload=f"{word} {n}"), range(count)))
    eventually(lambda: stack.batch(batch) == {State.FAILED: count}, within_s=60, what="all have failed")
    return ids


def start(stack: TestStack, body: dict[str, Any], status: int = 202, *, to: str = "gateway") -> Any:
    response = stack.call("POST", "/bulk-actions", body, to=to)
    assert response.status == status, response.raw
    return response.body


def standing(stack: TestStack, action: str, *, to: str = "gateway") -> Any:
    def answered() -> Answer | None:
        try:
            return stack.call("GET", f"/bulk-actions/{action}", to=to)
        except ConnectionError:
            # It was on its way to a gateway that was killed.
            return None

    response = eventually(answered, within_s=10, what="a gateway responds")
    assert response.status == 200, response.raw
    return response.body


def ended(stack: TestStack, action: str, within_s: float = 60.0) -> Any:
    return eventually(
        lambda: (found := standing(stack, action)) and found["ended_at"] and found,
        within_s=within_s,
        what="the bulk action has ended",
    )


def runs(stack: TestStack, ids: Sequence[str]) -> Counter[int]:
    return Counter(stack.status(job_id)["run"] for job_id in ids)


def moves(stack: TestStack, ids: Sequence[str], action: str) -> list[list[Any]]:
    """What the action did to each job, from their histories."""
    return [
        [entry for entry in stack.status(job_id)["history"] if entry.get("by", {}).get("via") == f"bulk:{action}"]
        for job_id in ids
    ]


def failed_again(stack: TestStack, batch: str, count: int) -> None:
    eventually(lambda: stack.batch(batch) == {State.FAILED: count}, within_s=60, what="all have failed again")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_retried_group_holds_what_the_preview_said(stack: TestStack, number: int) -> None:
    batch = f"group-{number}-{NONCE}"
    first = failing(stack, 100, batch)
    group = stack.status(first[0])["error"]["group"]
    wanted = {"action": "retry", "filter": {"error.group": group, "batch": batch}}
    preview = start(stack, {**wanted, "dry_run": True}, 200)
    assert (preview["count"], preview["count_is_exact"]) == (100, True)
    assert {one["id"] for one in preview["examples"]} < set(first)
    assert len(preview["examples"]) == 20
    assert all(NONCE in one["error"]["message"] for one in preview["examples"])
    assert runs(stack, first) == {1: 100}, "a dry run changes nothing"

    later = [stack.process("test.spills", batch=batch, payload=f"{NONCE} {n}") for n in range(40)]
    failed_again(stack, batch, 140)
    asked = start(stack, {**wanted, "plan": preview["plan"], "reason": NONCE})
    found = ended(stack, asked["id"])
    assert (found["state"], found["matched"], found["done"], found["refused"]) == ("done", 100, 100, {})
    assert (found["progress"], found["reason"]) == (1.0, NONCE)
    failed_again(stack, batch, 140)
    assert runs(stack, first) == {2: 100}
    assert runs(stack, later) == {1: 40}
    for entries in moves(stack, first, asked["id"]):
        assert [entry["reason"] for entry in entries] == [Reason.RETRIED]
        assert entries[0]["by"] == {"client": "local", "token_id": None, "via": f"bulk:{asked['id']}"}
    audited = stack.call("GET", "/audit?action=bulk").body["entries"]
    (entry,) = [one for one in audited if one["target"]["bulk"] == asked["id"]]
    assert (entry["client"], entry["count"], entry["reason"]) == ("local", 100, NONCE)
    assert entry["target"]["filter"] == wanted["filter"]


GATEWAYS = ("gateway-1", "gateway-2")


READY = ("ready", "degraded")


def owner_of(stack: TestStack) -> str:
    """The gateway that carries out the one action that is under way."""

    def found() -> str | None:
        ready = [name for name in GATEWAYS if stack.stack.parts.readiness(name) in READY]
        return next((name for name in ready if stack.metric("acked_bulk_actions", to=name) == 1), None)

    return str(eventually(found, within_s=TAKEN_OVER_WITHIN_S, what="a gateway carries the action out"))


def eventually_ready(stack: TestStack) -> None:
    """Until some gateway responds again."""
    eventually(lambda: stack.call("GET", "/readyz").status == 200, within_s=30, what="a gateway is ready")


def until_done(stack: TestStack, action: str, count: int) -> Any:
    return eventually(
        lambda: (found := standing(stack, action))["done"] >= count and found,
        within_s=60,
        what=f"{count} jobs are done",
    )


@pytest.mark.parametrize("number", range(ROUNDS))
def test_kills_of_the_owner_change_nothing(stack: TestStack, number: int) -> None:
    batch = f"killed-{number}-{NONCE}"
    ids = failing(stack, 100, batch)
    asked = start(stack, {"action": "retry", "filter": {"batch": batch}, "rate_per_s": 10})
    for count in (40, 70):
        until_done(stack, asked["id"], count)
        os.kill(stack.stack.parts.pid(owner_of(stack)), signal.SIGKILL)
        at = time.monotonic()
        eventually_ready(stack)
        before = standing(stack, asked["id"])["done"]
        until_done(stack, asked["id"], before + 1)
        print(f"killed at {before}: goes on within {time.monotonic() - at:.1f} s")  # noqa: T201 - a figure
    found = ended(stack, asked["id"])
    assert (found["state"], found["matched"], found["done"], found["refused"]) == ("done", 100, 100, {})
    failed_again(stack, batch, 100)
    assert runs(stack, ids) == {2: 100}
    assert {len(entries) for entries in moves(stack, ids, asked["id"])} == {1}


def test_an_abort_leaves_the_rest(stack: TestStack) -> None:
    batch = f"aborted-{NONCE}"
    ids = failing(stack, 100, batch)
    asked = start(stack, {"action": "retry", "filter": {"batch": batch}, "rate_per_s": 10})
    until_done(stack, asked["id"], 30)
    response = stack.call("POST", f"/bulk-actions/{asked['id']}/abort")
    assert response.status == 200, response.raw
    assert response.body["abort_requested_by"]["client"] == "local"
    found = ended(stack, asked["id"], within_s=5)
    assert found["state"] == "aborted"
    assert (instant(found["ended_at"]) - instant(found["abort_requested_at"])).total_seconds() < 1.5
    failed_again(stack, batch, 100)
    counted = runs(stack, ids)
    assert counted[1] >= 60
    assert counted == {1: 100 - found["done"], 2: found["done"]}
    again = stack.call("POST", f"/bulk-actions/{asked['id']}/abort")
    assert (again.status, again.body) == (200, found)
    audited = stack.call("GET", "/audit?action=bulk_abort").body["entries"]
    assert [one["target"]["bulk"] for one in audited].count(asked["id"]) == 1


def test_a_rate_is_kept_within_a_fifth(stack: TestStack) -> None:
    batch = f"rate-{NONCE}"
    ids = failing(stack, 80, batch)
    asked = start(stack, {"action": "retry", "filter": {"batch": batch}, "rate_per_s": 10})
    found = ended(stack, asked["id"])
    assert found["done"] == 80
    took_s = (instant(found["ended_at"]) - instant(found["asked_at"])).total_seconds()
    moved_at = sorted(instant(entry["at"]) for entries in moves(stack, ids, asked["id"]) for entry in entries)
    span_s = (moved_at[-1] - moved_at[0]).total_seconds()
    print(f"80 jobs at 10/s: {80 / took_s:.2f}/s in all, {79 / span_s:.2f}/s from first to last")  # noqa: T201
    assert 8 <= 80 / took_s <= 12
    assert 8 <= 79 / span_s <= 12


def test_running_and_waiting_jobs_are_cancelled(stack: TestStack) -> None:
    batch = f"cancel-{NONCE}"
    running = [stack.process("demo", payload={"seconds": 600}, batch=batch) for _ in range(4)]
    waiting = [stack.process("noop", batch=batch, delay_s=3600) for _ in range(4)]
    for job_id in running:
        assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    asked = start(stack, {"action": "cancel", "filter": {"batch": batch}})
    assert ended(stack, asked["id"])["done"] == 8
    for job_id in [*running, *waiting]:
        assert stack.finished(job_id, wait_s=10)["state"] == State.CANCELLED


def test_delayed_jobs_run_now(stack: TestStack) -> None:
    batch = f"now-{NONCE}"
    ids = [stack.process("noop", batch=batch, delay_s=3600) for _ in range(5)]
    asked = start(stack, {"action": "run_now", "ids": [*ids[:4], UNKNOWN]})
    found = ended(stack, asked["id"])
    assert (found["ids"], found["done"], found["refused"]) == (5, 4, {"not-found": 1})
    assert [one["id"] for one in found["refused_examples"]] == [UNKNOWN]
    for job_id in ids[:4]:
        assert stack.finished(job_id)["state"] == State.SUCCEEDED
    assert stack.status(ids[4])["state"] == State.SCHEDULED
    assert stack.call("POST", f"/jobs/{ids[4]}/cancel").status == 200


def test_failed_jobs_are_resolved_and_erased(stack: TestStack) -> None:
    batch = f"resolved-{NONCE}"
    ids = failing(stack, 3, batch)
    resolution = {"state": "succeeded", "result": {"by": NONCE}, "note": "by hand"}
    asked = start(stack, {"action": "resolve", "filter": {"batch": batch}, "resolution": resolution})
    assert ended(stack, asked["id"])["done"] == 3
    for job_id in ids:
        assert stack.status(job_id)["result"] == {"by": NONCE}
    asked = start(stack, {"action": "erase", "filter": {"batch": batch, "state": "succeeded"}})
    assert ended(stack, asked["id"])["done"] == 3
    for job_id in ids:
        response = stack.call("GET", f"/jobs/{job_id}")
        assert (response.body["payload"], response.body["result"]) == (None, None)
        assert NONCE not in str([response.body["attempts"], response.body["error"], response.body["payload"]])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "retry", "filter": {"state": "succeeded"}}, "/filter/state"),
        ({"action": "retry", "filter": {}}, "/filter"),
        ({"action": "retry", "filter": {"satte": "failed"}}, "/filter/satte"),
        ({"action": "resolve", "filter": {"batch": "b"}}, "/resolution"),
        ({"action": "retry", "filter": {"batch": "b"}, "plan": "nonsense"}, "/plan"),
    ],
)
def test_what_can_not_be_meant_is_refused(stack: TestStack, body: dict[str, Any], pointer: str) -> None:
    response = stack.call("POST", "/bulk-actions", body)
    assert_problem(stack, response, 422, "invalid-field")
    assert [error["pointer"] for error in response.body["errors"]] == [pointer]


def test_a_plan_serves_the_same_jobs_alone(stack: TestStack) -> None:
    wanted = {"action": "retry", "filter": {"batch": f"none-{NONCE}"}}
    plan = start(stack, {**wanted, "dry_run": True}, 200)["plan"]
    other = stack.call("POST", "/bulk-actions", {**wanted, "filter": {"batch": "another"}, "plan": plan})
    assert_problem(stack, other, 422, "invalid-field")
    found = ended(stack, start(stack, {**wanted, "plan": plan})["id"])
    assert (found["state"], found["matched"], found["done"], found["progress"]) == ("done", 0, 0, 1.0)


def test_unknown_actions_are_not_found(stack: TestStack) -> None:
    for text in (UNKNOWN, "nonsense"):
        assert_problem(stack, stack.call("GET", f"/bulk-actions/{text}"), 404, "not-found")
        assert_problem(stack, stack.call("POST", f"/bulk-actions/{text}/abort"), 404, "not-found")


def test_only_so_many_are_under_way_at_once(stack: TestStack) -> None:
    body = {"action": "retry", "ids": [str(uuid4()) for _ in range(9)], "rate_per_s": 0.1}
    actions = [start(stack, body)["id"] for _ in range(10)]
    response = stack.call("POST", "/bulk-actions", body)
    assert_problem(stack, response, 429, "too-many-bulk-actions")
    assert int(response.headers["retry-after"]) > 0
    listed: list[Any] = []
    token = ""
    while True:
        page = stack.call("GET", f"/bulk-actions?page_size=4&page_token={token}").body
        listed += page["bulk_actions"]
        if not (token := page["next_page_token"]):
            break
    assert [one["id"] for one in listed[:10]] == actions[::-1]
    for action in actions:
        assert stack.call("POST", f"/bulk-actions/{action}/abort").status == 200
    for action in actions:
        assert ended(stack, action, within_s=5)["state"] == "aborted"
    assert ended(stack, start(stack, {**body, "rate_per_s": 1000})["id"])["refused"] == {"not-found": 9}
