"""A callback from its first attempt to its repetition, as a stranger would check it: one story on shipped processes.

A tester can set `ACKED_TEST_NONCE`; it stands in tags, so that no canned response passes.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from acked_common.model.lifecycle import State
from support.access import problem_name
from support.callback_receiver import Call, receiving
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_HTTP_CALL_ALLOW": "127.0.0.1", "ACKED_CALLBACK_RETRIES_S": "0.1,0.1,0.1"}
NONCE = nonce()
WITHIN_S = 60.0
FORBIDDEN = ("http://169.254.169.254/latest", "https://169.254.169.254/", "https://localhost/hook", "https://[::1]/")


def ended(stack: TestStack, job_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many deliveries of a job have ended; the newest is the first."""

    def found() -> list[dict[str, Any]] | None:
        listed: list[dict[str, Any]] = stack.call("GET", f"/jobs/{job_id}/callbacks").body["deliveries"]
        return listed if len(listed) >= count and all(one["finished_at"] for one in listed) else None

    result: list[dict[str, Any]] = eventually(found, within_s=WITHIN_S, what="the deliveries have ended")
    return result


def program(stack: TestStack, *words: str) -> dict[str, Any]:
    """Return how a command of `acked` is started."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    environ["ACKED_GATEWAY"] = f"http://127.0.0.1:{stack.gateway_port}"
    path = Path(stack.stack.layout.venv_python).with_name("acked")
    return {"args": [str(path), *words], "env": environ, "text": True}


def cli(stack: TestStack, *words: str) -> Any:
    """Return what a command of `acked` prints on a pipe."""
    done = subprocess.run(**program(stack, *words), capture_output=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_callback_story_of_a_stranger(stack: TestStack, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stack.call("POST", "/callback-secrets").body
    secret = made["secret"]
    with receiving(500, 500) as receiver:
        # Two failures and a success are one logical event with three attempts, whose responses are kept.
        job_id = stack.process("noop", tags=[NONCE], callback={"url": receiver.url})
        calls = receiver.wait(3)
        (delivery,) = ended(stack, job_id)
        events = [call.verified(secret) for call in calls]
        assert events[0] == events[1] == events[2] == delivery["body"]
        assert (events[0]["data"]["id"], events[0]["data"]["tags"]) == (job_id, [NONCE])
        assert {call.webhook_id for call in calls} == {f"{job_id}_1_succeeded"}
        assert [one["response"]["status"] for one in delivery["attempts"]] == [500, 500, 204]
        assert stack.status(job_id)["callback"]["state"] == "delivered"
        _refuses_tampering_and_replay(calls[0], secret, monkeypatch)

        # The command line sends the event again, under the same id.
        resent = cli(stack, "resend", job_id)
        assert receiver.wait(4)[3].webhook_id == resent["webhook_id"] == calls[0].webhook_id
        assert [one["resend"] for one in ended(stack, job_id, 2)] == [1, 0]

        # The secret is rotated while jobs end, and the receiver has each event.
        _rotates(stack, made)
    for url in FORBIDDEN:
        refused = stack.call("POST", "/process", {"kind": "noop", "callback": {"url": url}}, to="intake")
        assert (refused.status, problem_name(refused)) == (422, "invalid-field"), url
    # A name that leads inside when the worker resolves it: intake can't know, and nothing is connected.
    inside = stack.process("noop", callback={"url": f"https://{socket.gethostname()}/hook"})
    (delivery,) = ended(stack, inside)
    assert delivery["state"] == State.FAILED
    assert delivery["attempts"][-1]["response"] is None and "may not be called" in delivery["attempts"][-1]["error"]


def _rotates(stack: TestStack, first: Any) -> None:
    with receiving() as receiver:
        jobs = [stack.process("noop", callback={"url": receiver.url})]
        second = cli(stack, "callback-secrets", "make")
        while len(receiver.wait(len(jobs))[-1].headers["webhook-signature"].split()) == 1:
            jobs.append(stack.process("noop", callback={"url": receiver.url}))
        calls = receiver.wait(len(jobs))
        assert {call.webhook_id for call in calls} == {f"{job}_1_succeeded" for job in jobs}
        # An event has the signature of the secret that receivers have had, whenever it was sent.
        assert all(call.verified(first["secret"]) for call in calls)
        assert calls[-1].verified(second["secret"]) == calls[-1].verified(first["secret"])
        assert stack.call("POST", f"/callback-secrets/{first['id']}/end").status == 200


def _refuses_tampering_and_replay(call: Call, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Call(call.headers, call.body.replace(b"noop", b"demo")).verified(secret)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Later":
            return cls.fromtimestamp((datetime.now(UTC) + timedelta(minutes=6)).timestamp(), tz)

    with monkeypatch.context() as patch:
        patch.setattr("standardwebhooks.webhooks.datetime", Later)
        with pytest.raises(WebhookVerificationError, match="too old"):
            call.verified(secret)


@contextmanager
def listening(stack: TestStack, url: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `acked callbacks listen` until it is interrupted; with the secret that it shows."""
    before = stack.metric("acked_feed_clients")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(**program(stack, "callbacks", "listen", "--forward-to", url), **pipes) as listen:
        try:
            assert listen.stderr is not None
            assert url in listen.stderr.readline()
            secret = listen.stderr.readline().split()[2].rstrip(",")
            eventually(lambda: stack.metric("acked_feed_clients") == before + 1, within_s=WITHIN_S, what="it listens")
            yield listen, secret
        finally:
            listen.kill()


def test_listen_forwards_each_delivery_once(stack: TestStack) -> None:
    if not stack.call("GET", "/callback-secrets").body["secrets"]:
        stack.call("POST", "/callback-secrets")
    with receiving() as public, receiving(500) as local, listening(stack, local.url) as (listen, secret):
        jobs = [stack.process("noop", tags=[NONCE], callback={"url": public.url}) for _ in range(3)]
        local.wait(3)
        # What is made while the gateway is away is forwarded once it is back, and nothing a second time.
        killed = stack.stack.parts.kill("gateway-1")
        jobs += [stack.process("noop", tags=[NONCE], callback={"url": public.url}) for _ in range(3)]
        public.wait(6)
        eventually(
            lambda: stack.stack.parts.pid("gateway-1") not in (0, killed), within_s=WITHIN_S, what="a gateway runs"
        )
        local.wait(6)
        # Sent again, it is another delivery of the same event.
        again = cli(stack, "resend", jobs[0])
        sent, forwarded = public.wait(7), local.wait(7)
        # A line is written when the receiver has responded.
        assert listen.stdout is not None
        lines = [listen.stdout.readline() for _ in range(7)]
        listen.send_signal(signal.SIGINT)
        rest, said = listen.communicate(timeout=WITHIN_S)
    assert (listen.returncode, rest, said) == (-signal.SIGINT, "", "")
    assert sorted((call.webhook_id, call.body) for call in forwarded) == sorted(
        (call.webhook_id, call.body) for call in sent
    ), "as Acked sends them"
    assert {call.verified(secret)["data"]["id"] for call in forwarded} == set(jobs)
    records = [json.loads(line) for line in lines]
    assert len({record["id"] for record in records}) == len(records) == len(local.calls) == 7
    assert records[-1]["id"] == again["id"]
    assert [record["status"] for record in records] == [500] + [204] * 6 and records[0]["error"] is not None
