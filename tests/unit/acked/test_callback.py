"""The kind `acked.callback` against a real receiver."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from acked.kinds import http_client, settings
from acked.kinds.callback import DeliveryFailed, DeliveryRefused, callback
from acked.kinds.settings import callback_retries_s
from acked.resources import close_resources
from acked.testing import RecordingAttempt
from acked_common.outcomes.outcome import raised

SECRETS = ["whsec_" + "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh", "whsec_" + "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi"]
BODY = '{"type":"job.succeeded","data":{"text":"ü"}}'


class Receiver:
    def __init__(self) -> None:
        self.status = 204
        self.said = b""
        self.headers: dict[str, str] = {}
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, body=self.said, headers=self.headers)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    made = Receiver()
    runner = web.ServerRunner(web.Server(made.take), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    made.url = f"http://{host}:{port}/hook"
    monkeypatch.setenv(settings.HTTP_CALL_ALLOW, host)
    yield made
    await close_resources()
    await runner.cleanup()


def payload(url: str, secrets: list[str] = SECRETS) -> dict[str, Any]:
    return {"url": url, "webhook_id": "job_1_succeeded", "body": BODY, "secrets": secrets, "tenant": "acme"}


async def deliver(given: dict[str, Any], **attempt: Any) -> dict[str, Any]:
    return await callback(RecordingAttempt(id="j", **attempt).context, given)


async def test_delivery_is_verified_with_either_secret(receiver: Receiver) -> None:
    kept = await deliver(payload(receiver.url))
    ((headers, body),) = receiver.calls
    assert body.decode() == BODY
    for secret in SECRETS:
        assert Webhook(secret).verify(body, headers)["type"] == "job.succeeded"
    assert (kept["status"], kept["body"], kept["is_cut"]) == (204, "", False)
    assert str(kept["sent_at"]) == {name.lower(): value for name, value in headers.items()}["webhook-timestamp"]
    assert not any(secret in str(kept) for secret in SECRETS)


@pytest.mark.parametrize("status", [301, 400, 429, 500, 503])
async def test_response_beyond_2xx_is_retried_and_kept(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.said = status, b"n" * 5000 + b"\0"
    receiver.headers = {"location": "http://127.0.0.1/other"} if status == 301 else {}
    with pytest.raises(DeliveryFailed) as failure:
        await deliver(payload(receiver.url), failures=2)
    assert failure.value.after_s == callback_retries_s()[2]
    ending = raised(failure.value)
    details = ending.error.details
    assert details is not None
    assert ending.retryable
    assert (details["status"], details["body"], details["is_cut"]) == (status, "n" * 4096, True)
    assert len(receiver.calls) == 1


async def test_gone_receiver_fails_the_delivery_at_once(receiver: Receiver) -> None:
    receiver.status = 410
    with pytest.raises(DeliveryRefused) as failure:
        await deliver(payload(receiver.url))
    ending = raised(failure.value)
    assert (ending.retryable, ending.error.type) == (False, "callback-gone")


async def test_name_that_resolves_inside_is_refused(receiver: Receiver) -> None:
    port = receiver.url.rsplit(":", 1)[1].partition("/")[0]
    # The allow list has the address, not the name.
    with pytest.raises(DeliveryRefused) as failure:
        await deliver(payload(f"https://localhost:{port}/hook"))
    assert raised(failure.value).error.type == "target-not-allowed"
    assert receiver.calls == []


async def test_refused_connection_is_retried(receiver: Receiver) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DeliveryFailed) as failure:
            await deliver(payload(url), failures=50)
    # Further failures, as after a retry by an operator with more attempts, keep the last delay.
    assert failure.value.after_s == callback_retries_s()[-1]
    details = raised(failure.value).error.details
    assert details is not None
    assert "status" not in details
    assert details["duration_s"] >= 0


async def test_delivery_without_a_secret_says_how_to_make_one(receiver: Receiver) -> None:
    with pytest.raises(DeliveryFailed, match="POST /callback-secrets"):
        await deliver(payload(receiver.url, []))
    assert receiver.calls == []


async def test_headers_of_an_endpoint_are_sent_beside_ours(receiver: Receiver) -> None:
    given = payload(receiver.url) | {"headers": {"authorization": "Bearer x", "webhook-id": "forged"}}
    await deliver(given)
    ((headers, body),) = receiver.calls
    lowered = {name.lower(): value for name, value in headers.items()}
    assert (lowered["authorization"], lowered["webhook-id"]) == ("Bearer x", "job_1_succeeded")
    assert Webhook(SECRETS[0]).verify(body, headers)


async def test_stopped_endpoint_gets_nothing(receiver: Receiver) -> None:
    with pytest.raises(DeliveryRefused, match="the endpoint billing is disabled; nothing was sent") as failure:
        await deliver(payload(receiver.url) | {"stopped": "the endpoint billing is disabled"})
    ending = raised(failure.value)
    assert (ending.retryable, ending.error.type) == (False, "endpoint-disabled")
    assert "duration_s" not in (ending.error.details or {})
    assert receiver.calls == []


def test_client_is_shared_with_http_call() -> None:
    assert callback.__globals__["caller"] is http_client.caller


@pytest.mark.parametrize("text", ["", " ", "0.1", "5,300", "0," * 19 + "604800"])
def test_retries_are_numbers_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(settings.CALLBACK_RETRIES_S, text)
    assert callback_retries_s() == (tuple(map(float, text.split(","))) if text.strip() else settings.USUAL_RETRIES_S)


@pytest.mark.parametrize("text", ["x", "5,", "-1", "nan", "604801", "1," * 20 + "1"])
def test_retries_beyond_their_limits_stop_the_worker(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(settings.CALLBACK_RETRIES_S, text)
    with pytest.raises(ValueError, match="ACKED_CALLBACK_RETRIES_S"):
        callback_retries_s()
