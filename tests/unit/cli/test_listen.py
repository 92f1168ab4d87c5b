"""`callbacks listen`: what it refuses, and what a receiver gets. test_callback_story.py runs it against a stack."""

import json
from pathlib import Path

import httpx2
import msgspec
import pytest
from standardwebhooks import Webhook

from acked_cli.commands.listen import LocalReceiver, forwarding_url, new_secret
from acked_client import Delivery
from support.callback_receiver import receiving
from support.cli import Server, acked
from support.client_flows import delivery

TO = ["callbacks", "listen", "--forward-to"]
LOCAL = "http://127.0.0.1:1/hook"


def made(url: str, secret: str, http: httpx2.Client) -> LocalReceiver:
    return LocalReceiver(url, Webhook(secret), http)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ftp://localhost/x"], "is a URL"),
        (["http://"], "is a URL"),
        (["localhost:x"], "is a URL"),
        ([LOCAL, "--on", "running"], "not 'running'"),
        ([LOCAL, "-o", "json"], "-o ndjson"),
        ([LOCAL, "--secret-file", "/no/such/file"], "--secret-file"),
    ],
    ids=["scheme", "no-host", "port", "no-end", "json", "file"],
)
def test_words_without_a_meaning_are_refused(server: Server, words: list[str], message: str) -> None:
    ended = acked(*TO, *words)
    assert (ended.code, ended.out, server.received) == (2, "", []) and message in ended.err


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_?!", "{}", '{"secret": 7'], ids=str)
def test_file_without_a_secret_is_refused(server: Server, tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(text)
    ended = acked(*TO, LOCAL, "--secret-file", str(file))
    assert (ended.code, ended.out, server.received) == (2, "", []) and "secret" in ended.err
    file.chmod(0o644)
    assert "chmod 600" in acked(*TO, LOCAL, "--secret-file", str(file)).err


@pytest.mark.parametrize("form", ["text", "json"])
def test_secret_of_a_file_is_not_shown(server: Server, tmp_path: Path, form: str) -> None:
    secret, file = new_secret(), tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(secret if form == "text" else json.dumps({"id": "cs_1", "secret": secret}))
    ended = acked(*TO, LOCAL, "--secret-file", str(file), "--retry-for", "0")
    # The server of this test has no feed.
    assert ended.code == 3 and "forwarding to" in ended.err and secret not in ended.err + ended.out


def test_address_may_lack_its_scheme() -> None:
    assert forwarding_url("localhost:9000/hook") == "http://localhost:9000/hook"


def test_receiver_gets_the_event_signed() -> None:
    secret, event = new_secret(), msgspec.convert(delivery(body={"type": "job.failed", "data": "ä"}), Delivery)
    with receiving(500, 302) as receiver, httpx2.Client() as http:
        records = [made(receiver.url, secret, http).send(event) for _ in range(3)]
        calls = receiver.wait(3)
    assert [record["status"] for record in records] == [500, 302, 204], "no redirect is followed"
    assert [record["error"] is None for record in records] == [False, False, True]
    for call in calls:
        assert call.verified(secret) == event.body
        assert (call.webhook_id, call.headers["idempotency-key"]) == (event.webhook_id, event.webhook_id)
        assert (call.headers["content-type"], call.headers["user-agent"]) == ("application/json", "acked")


def test_receiver_that_is_gone_is_no_failure_of_the_command() -> None:
    with httpx2.Client() as http:
        record = made(LOCAL, new_secret(), http).send(msgspec.convert(delivery(), Delivery))
    assert record["status"] is None and "ConnectError" in record["error"]
