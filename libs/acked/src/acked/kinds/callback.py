"""`acked.callback`: delivers an event of a job to its callback URL, signed by Standard Webhooks.

Only intake submits such jobs. The worker adds the secrets of the tenant to the payload of each attempt, and URL and
headers of the tenant's endpoint if the delivery has one, so they are stored nowhere else. A 2xx within 15 s is a
success; every other response, redirects included, fails the attempt, and a 410 fails the delivery at once. The delays
between attempts are those of `ACKED_CALLBACK_RETRIES_S`. Hosts are allowed by the rules of `acked.kinds.http_guard`,
with the list of `http_call`.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook

from acked import Context, Permanent, RetryLater, handler
from acked.kinds import settings
from acked.kinds.http_answer import HttpCallError, HttpResponse
from acked.kinds.http_client import caller
from acked.kinds.http_guard import Refused
from acked.kinds.http_request import CallRequest, parse_request

WITHIN_S = 15.0
"""The timeout of one request."""
SHOWN_BYTES = 4 * 1024
"""How much of a response's body is kept."""
KEPT_HEADERS = ("content-type", "location", "retry-after", "server")
MAX_HEADER_CHARS = 256
GONE = 410

_retries_s = settings.callback_retries_s()


class _Delivery(msgspec.Struct, frozen=True):
    """What the handler reads of its payload."""

    url: str
    webhook_id: str
    body: str
    secrets: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    stopped: str | None = None
    """Why the endpoint gets nothing."""


class DeliveryFailed(RetryLater):
    """The attempt failed; there will be another one, unless it was the last."""

    def __init__(self, after_s: float, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(after_s, message)
        self.acked_details = details


class DeliveryRefused(Permanent):
    """The delivery fails at once."""

    def __init__(self, message: str, type_: str, details: Mapping[str, Any]) -> None:
        super().__init__(message, type_)
        self.acked_details = details


@handler(
    "acked.callback",
    timeout_s=60.0,
    max_attempts=len(_retries_s) + 1,
    backoff_base_s=1.0,
    backoff_cap_s=1.0,
)
async def callback(ctx: Context, payload: Any) -> dict[str, Any]:
    """Send the event once. The result is what was sent and what came back, as failures keep it too."""
    delivery = msgspec.convert(payload, _Delivery)
    sent_at = datetime.now(UTC)
    details: dict[str, Any] = {"sent_at": int(sent_at.timestamp())}
    if delivery.stopped is not None:
        message = f"{delivery.stopped}; nothing was sent. Enable the endpoint, then send the event again"
        raise DeliveryRefused(message, "endpoint-disabled", details)
    after_s = _retries_s[min(ctx.failures, len(_retries_s) - 1)] if _retries_s else 0.0
    if not delivery.secrets:
        raise DeliveryFailed(
            after_s, "no secret of the tenant could be read; make one with POST /callback-secrets", details
        )
    signed = delivery.headers | {
        "content-type": "application/json",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": str(details["sent_at"]),
        "webhook-signature": signature(delivery.secrets, delivery.webhook_id, sent_at, delivery.body),
    }
    request, url = parse_request({"url": delivery.url, "method": "POST", "headers": signed, "body": delivery.body})
    answer = await _send(request, url, delivery.webhook_id, after_s, details)
    details |= response_details(answer)
    if request.expects(answer.status):
        return details
    message = f"the receiver returned {answer.status}"
    if answer.status == GONE:
        raise DeliveryRefused(f"{message}: it accepts no more events", "callback-gone", details)
    if 300 <= answer.status <= 399:
        message += "; redirects are not followed, name the final URL"
    raise DeliveryFailed(after_s, message, details)


def signature(secrets: tuple[str, ...], webhook_id: str, at: datetime, body: str) -> str:
    """Return the header `webhook-signature`: one signature for each secret, so that receivers may have either."""
    return " ".join(Webhook(secret).sign(webhook_id, at, body) for secret in secrets)


def response_details(answer: HttpResponse) -> dict[str, Any]:
    """Return what is kept of a response: its status, some headers, and the first 4 KiB of its body as text."""
    headers = {
        name: answer.headers[name].encode(errors="replace").decode()[:MAX_HEADER_CHARS]
        for name in KEPT_HEADERS
        if name in answer.headers
    }
    shown = answer.body[:SHOWN_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    is_cut = answer.truncated or len(answer.body) > SHOWN_BYTES
    return {"status": answer.status, "headers": headers, "body": shown, "is_cut": is_cut}


async def _send(
    request: CallRequest, url: Any, webhook_id: str, after_s: float, details: dict[str, Any]
) -> HttpResponse:
    """Send the request; note in `details` how long it took. Raise `DeliveryFailed` or `DeliveryRefused`."""
    began = time.monotonic()
    try:
        return await caller.get().call(request, url, webhook_id, WITHIN_S)
    except HttpCallError as error:
        raise DeliveryFailed(after_s, str(error), details) from None
    except Refused as error:
        raise DeliveryRefused(error.message, "target-not-allowed", details) from None
    finally:
        details["duration_s"] = round(time.monotonic() - began, 3)
