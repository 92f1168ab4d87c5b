"""Callback endpoints as their receivers see them, also where a process dies between a job's end and its delivery.

A tester can set `ACKED_TEST_NONCE`; it stands in tags, so that no canned response passes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from acked_common.model.lifecycle import State
from deploy.native import environment
from support.callback_receiver import Call, Receiver, receiving
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {
    "ACKED_HTTP_CALL_ALLOW": "127.0.0.1",
    "ACKED_CALLBACK_RETRIES_S": ",".join(["0.2"] * 20),
}
"""A stack of its own: its processes are killed."""

NONCE = nonce()
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def secret(stack: TestStack) -> str:
    """The first secret of the tenant."""
    made = stack.call("POST", "/callback-secrets")
    assert made.status == 201, made.raw
    return str(made.body["secret"])


@contextmanager
def endpoint(stack: TestStack, name: str, url: str, **fields: Any) -> Iterator[str]:
    """Define an endpoint for the block, and yield its path."""
    path = f"/callback-endpoints/{name}"
    made = stack.call("PUT", path, {"url": url, **fields})
    assert made.status == 201, made.raw
    try:
        yield path
    finally:
        assert stack.call("DELETE", path).status == 200


def deliveries(stack: TestStack, job_id: str) -> list[dict[str, Any]]:
    response = stack.call("GET", f"/jobs/{job_id}/callbacks")
    assert response.status == 200, response.raw
    found: list[dict[str, Any]] = response.body["deliveries"]
    return found


def delivered(stack: TestStack, job_id: str) -> dict[str, Any]:
    """The one delivery of a job, once it has ended."""

    def found() -> dict[str, Any] | None:
        listed = deliveries(stack, job_id)
        assert len(listed) <= 1, listed
        return listed[0] if listed and listed[0]["finished_at"] else None

    result: dict[str, Any] = eventually(found, within_s=WITHIN_S, what="the delivery has ended")
    return result


def test_endpoint_gets_the_events_that_it_wants(stack: TestStack, secret: str) -> None:
    wanted = {"events": ["job.succeeded"], "kinds": ["noop", "flaky"], "headers": {"authorization": f"Bearer {NONCE}"}}
    with receiving() as receiver, endpoint(stack, "wanted", receiver.url, **wanted) as path:
        # The response has come, so it concerns the very next job.
        job_id = stack.process("noop", tags=[NONCE])
        others = [
            stack.process("flaky", payload={"failures": 1000}, max_attempts=1),
            stack.process("test.echo", payload=1),
        ]
        (call,) = receiver.wait(1)
        event = call.verified(secret)
        assert (event["type"], event["data"]["id"], event["data"]["tags"]) == ("job.succeeded", job_id, [NONCE])
        assert call.headers["authorization"] == f"Bearer {NONCE}"
        delivery = delivered(stack, job_id)
        assert (delivery["state"], delivery["endpoint"]) == (State.SUCCEEDED, "wanted")
        assert stack.call("GET", "/jobs?tag=endpoint:wanted").body["jobs"][0]["id"] == delivery["id"]
        for other in others:
            stack.finished(other)
        last = stack.process("noop")
        receiver.wait_until(lambda calls: any(last in one.webhook_id for one in calls))
        assert [deliveries(stack, other) for other in others] == [[], []]
        assert len(receiver.calls) == 2
        shown = stack.call("GET", path)
        assert shown.body["header_names"] == ["authorization"] and NONCE not in shown.raw.decode()
        assert f"Bearer {NONCE}" not in stack.call("GET", f"/jobs/{delivery['id']}").raw.decode()
    entries = stack.call("GET", "/audit").body["entries"]
    acts = [one["action"] for one in entries if one["target"] == {"endpoint": "wanted"}]
    assert acts == ["callback_endpoint_delete", "callback_endpoint_put"]


def test_callback_and_endpoints_get_one_event(stack: TestStack, secret: str) -> None:
    with receiving() as first, receiving() as second, endpoint(stack, "both", second.url):
        job_id = stack.process("noop", callback={"url": first.url})
        calls = first.wait(1) + second.wait(1)
        assert {call.webhook_id for call in calls} == {f"{job_id}_1_succeeded"}
        assert calls[0].verified(secret) == calls[1].verified(secret)
        listed = eventually(
            lambda: (found := deliveries(stack, job_id)) and all(one["finished_at"] for one in found) and found,
            within_s=WITHIN_S,
            what="both deliveries have ended",
        )
        assert {one["endpoint"] for one in listed} == {None, "both"}
        to_endpoint = next(one for one in listed if one["endpoint"] == "both")
        resent = stack.call("POST", f"/jobs/{job_id}/callbacks/{to_endpoint['id']}/resend")
        assert resent.status == 202, resent.raw
        again = second.wait(2)[1]
        assert again.webhook_id == calls[0].webhook_id and again.verified(secret)
        assert len(first.calls) == 1


def _without_callback(stack: TestStack) -> str | None:
    job = stack.process("noop")
    return job if "callback" not in stack.finished(job) else None


def test_receiver_that_is_gone_disables_its_endpoint(stack: TestStack, secret: str) -> None:
    with receiving(410) as receiver, endpoint(stack, "gone", receiver.url) as path:
        assert delivered(stack, stack.process("noop"))["state"] == State.FAILED
        found = eventually(
            lambda: (shown := stack.call("GET", path).body)["disabled"] and shown,
            within_s=WITHIN_S,
            what="the endpoint is disabled",
        )
        assert (found["enabled"], found["state"], found["disabled"]["by"]) == (False, "disabled", "acked")
        assert "410" in found["disabled"]["reason"] and "410" in found["last_error"]
        (entry,) = stack.call("GET", "/audit?action=callback_endpoint_disable").body["entries"]
        assert (entry["client"], entry["target"], entry["reason"]) == (
            "acked",
            {"endpoint": "gone"},
            found["disabled"]["reason"],
        )
        eventually(
            lambda: stack.metric("acked_callback_endpoints", '{state="disabled"}') == 1,
            within_s=WITHIN_S,
            what="the metric shows it",
        )
        # Intake decides from a list that may be two seconds old.
        unheard = eventually(lambda: _without_callback(stack), within_s=WITHIN_S, what="intake knows it")
        assert stack.call("POST", f"{path}/enable").body["enabled"] is True
        heard = stack.process("noop")
        assert delivered(stack, heard)["state"] == State.SUCCEEDED
        assert deliveries(stack, unheard) == []
        assert [call.webhook_id.split("_")[0] for call in receiver.calls][1:] == [heard]


def test_delivery_waits_out_a_disabled_endpoint(stack: TestStack, secret: str) -> None:
    with receiving(500) as receiver, endpoint(stack, "off", receiver.url) as path:
        receiver.may_respond.clear()
        job_id = stack.process("noop")
        receiver.wait(1)
        assert stack.call("POST", f"{path}/disable", {"reason": "moves"}).body["state"] == "off"
        receiver.may_respond.set()
        failed = delivered(stack, job_id)
        assert failed["state"] == State.FAILED and "is disabled" in failed["attempts"][-1]["error"]
        resend = f"/jobs/{job_id}/callbacks/{failed['id']}/resend"
        assert stack.call("POST", resend).status == 409
        assert stack.call("POST", f"{path}/enable").status == 200
        assert stack.call("POST", resend).status == 202
        assert receiver.wait(2)[1].verified(secret)["data"]["id"] == job_id


def restarted(stack: TestStack, part: str, *, crash: str | None = None) -> None:
    """Kill a process; it is back, and dies at its first arrival at the failpoint if one is named."""
    layout, parts = stack.stack.layout, stack.stack.parts
    environment.keep_for(layout, part, {"ACKED_CRASH": f"{crash}:1:kill"} if crash else {})
    killed = parts.kill(part)
    eventually(lambda: parts.pid(part) not in (0, killed), within_s=30, what="another process is there")
    log = layout.logs / f"{part}.log"
    if crash:
        eventually(lambda: f'"point": "{crash}"' in log.read_text(errors="replace"), within_s=30, what="it is armed")
    environment.keep_for(layout, part, {})
    to = part.rpartition("-")[0]
    if to != "worker":
        eventually(lambda: stack.call("GET", "/readyz", to=to).status == 200, within_s=30, what="it is ready")


def heard_once(stack: TestStack, receiver: Receiver, secret: str, job_id: str) -> list[Call]:
    """Check that the receiver has exactly one logical event of the job, sent by one delivery."""
    assert delivered(stack, job_id)["state"] == State.SUCCEEDED
    calls = [call for call in receiver.calls if call.verified(secret)["data"]["id"] == job_id]
    assert {call.webhook_id for call in calls} == {f"{job_id}_1_succeeded"}
    assert len({call.body for call in calls}) == 1
    return calls


def test_intake_killed_behind_the_insert_delivers_once(stack: TestStack, secret: str) -> None:
    with receiving() as receiver, endpoint(stack, "crash-intake", receiver.url):
        restarted(stack, "intake-1", crash="intake.delivery-inserted")
        before = stack.stack.parts.pid("intake-1")
        job_id = stack.process("noop", tags=[NONCE])
        eventually(
            lambda: stack.stack.parts.pid("intake-1") not in (0, before), within_s=WITHIN_S, what="intake has died"
        )
        assert len(heard_once(stack, receiver, secret, job_id)) == 1


def test_processes_killed_before_the_delivery_lose_no_event(stack: TestStack, secret: str) -> None:
    with receiving() as receiver, endpoint(stack, "crash-all", receiver.url):
        job_id = stack.process("noop", delay_s=0.5, tags=[NONCE])
        killed = stack.stack.parts.kill("intake-1")
        stack.stack.parts.kill("gateway-1")

        def ended() -> bool:
            try:
                return bool(stack.call("GET", f"/status/{job_id}").body["finished_at"])
            except (HTTPException, KeyError):
                return False

        eventually(ended, within_s=WITHIN_S, what="the job has ended")
        assert stack.stack.parts.pid("intake-1") != killed
        assert len(heard_once(stack, receiver, secret, job_id)) == 1


def test_worker_killed_in_an_attempt_repeats_the_event(stack: TestStack, secret: str) -> None:
    with receiving() as receiver, endpoint(stack, "crash-worker", receiver.url):
        receiver.may_respond.clear()
        job_id = stack.process("noop", tags=[NONCE])
        receiver.wait(1)
        stack.stack.parts.kill("worker-1")
        # The worker has not recorded what became of the first attempt.
        receiver.wait(2)
        receiver.may_respond.set()
        calls = heard_once(stack, receiver, secret, job_id)
        assert len(calls) == 2 and calls[0].headers["idempotency-key"] == calls[1].headers["idempotency-key"]


def test_secrets_rotate_without_a_lost_event(stack: TestStack, secret: str) -> None:
    known = [secret]
    (first,) = stack.call("GET", "/callback-secrets").body["secrets"]
    with receiving() as receiver, endpoint(stack, "rotation", receiver.url):
        jobs = [stack.process("noop") for _ in range(5)]
        second = stack.call("POST", "/callback-secrets").body
        # The receiver knows the new secret from now on, and workers use it within seconds.
        known.append(second["secret"])
        while not any(len(call.headers["webhook-signature"].split()) == 2 for call in receiver.calls):
            jobs.append(stack.process("noop"))
            receiver.wait_until(lambda calls: any(jobs[-1] in call.webhook_id for call in calls))
        assert stack.call("POST", f"/callback-secrets/{first['id']}/end").status == 200
        # The receiver drops the earlier secret once the last event that has its signature alone has come.
        known.remove(secret)
        after = [stack.process("noop") for _ in range(5)]
        calls = receiver.wait_until(lambda calls: len({call.webhook_id for call in calls}) == len(jobs + after))
        assert {call.webhook_id for call in calls} == {f"{job}_1_succeeded" for job in jobs + after}
        for call in calls:
            job_id = call.webhook_id.split("_")[0]
            assert any(_verifies(call, one) for one in (known if job_id in after else [secret, *known]))


def _verifies(call: Call, secret: str) -> bool:
    try:
        return bool(call.verified(secret))
    except WebhookVerificationError:
        return False
