"""Callbacks as receivers see them: verified with the published library, retried, rotated, sent again, and kept.

A tester can set `ACKED_TEST_NONCE`; it stands in tags, so that no canned answer passes.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from acked_common.model.lifecycle import State
from support.access import Client, make_token, problem_name
from support.callback_receiver import Call, receiving
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {
    "ACKED_ACCESS": "tokens",
    "ACKED_HTTP_CALL_ALLOW": "127.0.0.1",
    "ACKED_CALLBACK_RETRIES_S": "0.1,0.1,0.1",
}
NONCE = nonce()
FAILS = {"kind": "flaky", "max_attempts": 1, "payload": {"failures": 1000}}


@pytest.fixture(scope="module")
def all_of_acme(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="acme"))


@pytest.fixture(scope="module")
def made(all_of_acme: Client) -> Any:
    """The first secret of the tenant, which signs in all of these tests."""
    response = all_of_acme.call("POST", "/callback-secrets")
    assert response.status == 201, response.raw
    return response.body


@pytest.fixture(scope="module")
def secret(made: Any) -> str:
    return str(made["secret"])


def deliveries(client: Client, job_id: str) -> list[dict[str, Any]]:
    response = client.call("GET", f"/jobs/{job_id}/callbacks")
    assert response.status == 200, response.raw
    found: list[dict[str, Any]] = response.body["deliveries"]
    return found


def ended(client: Client, job_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many deliveries of a job have ended."""

    def found() -> list[dict[str, Any]] | None:
        now = deliveries(client, job_id)
        return now if len(now) >= count and all(one["finished_at"] for one in now) else None

    result: list[dict[str, Any]] = eventually(found, within_s=60, what="the deliveries end")
    return result


def test_callback_failing_twice_is_one_event_of_three_attempts(all_of_acme: Client, secret: str) -> None:
    client = all_of_acme
    with receiving(500, 500) as receiver:
        job_id = client.process("noop", tags=[NONCE], batch="nightly", callback={"url": receiver.url})
        calls = receiver.wait(3)
    events = [call.verified(secret) for call in calls]
    assert events[0] == events[1] == events[2]
    assert {call.webhook_id for call in calls} == {f"{job_id}_1_succeeded"}
    event = events[0]
    assert event["type"] == "job.succeeded"
    data = event["data"]
    assert (data["id"], data["kind"], data["state"], data["run"]) == (job_id, "noop", State.SUCCEEDED, 1)
    assert (data["batch"], data["tags"]) == ("nightly", [NONCE])
    assert data["links"]["status"] == f"/status/{job_id}"
    (delivery,) = ended(client, job_id)
    assert delivery["state"] == State.SUCCEEDED
    assert delivery["body"] == event
    attempts = delivery["attempts"]
    assert [one["response"]["status"] for one in attempts] == [500, 500, 204]
    assert [len(one["response"]["body"]) for one in attempts] == [4096, 4096, 0]
    assert [one["outcome"] for one in attempts] == ["failed", "failed", "succeeded"]
    assert [str(one["webhook_timestamp"]) for one in attempts] == [call.headers["webhook-timestamp"] for call in calls]
    assert all(0 <= one["duration_s"] < 15 for one in attempts)
    status = client.call("GET", f"/status/{job_id}").body
    assert status["callback"]["state"] == "delivered"
    assert secret not in json.dumps(client.call("GET", f"/jobs/{delivery['id']}").body)


def test_callback_tampered_or_replayed_is_refused_by_verifier(
    all_of_acme: Client, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = all_of_acme
    with receiving() as receiver:
        client.process("noop", callback={"url": receiver.url})
        (call,) = receiver.wait(1)
    call.verified(secret)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Call(call.headers, call.body.replace(b"noop", b"demo")).verified(secret)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Call({**call.headers, "webhook-id": "another"}, call.body).verified(secret)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Later":
            return cls.fromtimestamp((datetime.now(UTC) + timedelta(minutes=6)).timestamp(), tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Later)
    with pytest.raises(WebhookVerificationError, match="too old"):
        call.verified(secret)


def test_callback_while_secrets_rotate_verifies_with_either(all_of_acme: Client, made: Any) -> None:
    client = all_of_acme
    first, second = made, client.call("POST", "/callback-secrets").body
    refused = client.call("POST", "/callback-secrets")
    assert (refused.status, problem_name(refused)) == (409, "two-secrets")
    shown = client.call("GET", "/callback-secrets")
    assert [one["id"] for one in shown.body["secrets"]] == [second["id"], first["id"]]
    assert first["secret"] not in shown.raw.decode()

    def sends_both() -> Call | None:
        with receiving() as receiver:
            client.process("noop", callback={"url": receiver.url})
            (call,) = receiver.wait(1)
        return call if len(call.headers["webhook-signature"].split()) == 2 else None

    # A worker may use the secrets that it read some seconds ago.
    call = eventually(sends_both, within_s=60, what="both secrets sign")
    assert call.verified(first["secret"]) == call.verified(second["secret"])
    left = client.call("POST", f"/callback-secrets/{second['id']}/end").body
    assert [one["id"] for one in left["secrets"]] == [first["id"]]


def test_callback_of_failure_and_of_retry_are_two_events(all_of_acme: Client, secret: str) -> None:
    client = all_of_acme
    with receiving() as receiver:
        wanted = {"url": receiver.url, "events": ["job.failed"]}
        job_id = client.process(callback=wanted, **FAILS)
        receiver.wait(1)
        assert client.call("POST", f"/jobs/{job_id}/retry").status == 200
        calls = receiver.wait(2)
        assert [call.verified(secret)["data"]["run"] for call in calls] == [1, 2]
        done = client.process("noop", callback=wanted)
        seen = eventually(
            lambda: (found := client.call("GET", f"/status/{done}").body)["state"] == State.SUCCEEDED and found,
            within_s=30,
            what="the job ends",
        )
        assert seen["callback"]["state"] == "not-requested"


def test_callback_resent_keeps_its_id(all_of_acme: Client, secret: str) -> None:
    client = all_of_acme
    with receiving() as receiver:
        job_id = client.process("noop", callback={"url": receiver.url})
        (delivery,) = ended(client, job_id)
        path = f"/jobs/{job_id}/callbacks/{delivery['id']}/resend"
        resent = client.call("POST", path)
        assert resent.status == 202, resent.raw
        first, second = receiver.wait(2)
        listed = ended(client, job_id, 2)
    assert first.webhook_id == second.webhook_id == resent.body["webhook_id"]
    assert first.verified(secret) == second.verified(secret)
    assert {one["id"] for one in listed} == {delivery["id"], resent.body["id"]}
    assert [one["resend"] for one in listed] == [1, 0]
    entries = client.call("GET", "/audit?action=callback_resend").body["entries"]
    assert entries[0]["target"] == {"job": job_id, "delivery": resent.body["id"]}
    other = client.process("noop")
    assert client.call("POST", f"/jobs/{other}/callbacks/{delivery['id']}/resend").status == 404


def test_callback_redirected_or_gone_is_a_failure(all_of_acme: Client, secret: str) -> None:
    client = all_of_acme
    with receiving(307, 410) as receiver:
        job_id = client.process("noop", callback={"url": receiver.url})
        (delivery,) = ended(client, job_id)
    assert delivery["state"] == State.FAILED
    assert [one["response"]["status"] for one in delivery["attempts"]] == [307, 410]
    assert client.call("GET", f"/status/{job_id}").body["callback"]["state"] == "undelivered"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://localhost/hook",
        "https://[::1]/hook",
        "https://10.0.0.1/hook",
        "http://example.com/hook",
        "https://user:secret@example.com/",
    ],
)
def test_callback_to_forbidden_target_is_refused_at_once(all_of_acme: Client, url: str) -> None:
    response = all_of_acme.call("POST", "/process", {"kind": "noop", "callback": {"url": url}}, to="intake")
    assert (response.status, problem_name(response)) == (422, "invalid-field")
    assert response.body["errors"][0]["pointer"] == "/callback/url"


def test_callback_kind_is_refused_in_requests(all_of_acme: Client) -> None:
    response = all_of_acme.call("POST", "/process", {"kind": "acked.callback"}, to="intake")
    assert (response.status, problem_name(response)) == (422, "invalid-field")


def test_callback_secret_needs_operate(stack: TestStack) -> None:
    reader = Client(stack, make_token(stack, "read", "submit", tenant="acme", client="reader"))
    assert reader.call("GET", "/callback-secrets").status == 403
    assert reader.call("POST", "/callback-secrets").status == 403
