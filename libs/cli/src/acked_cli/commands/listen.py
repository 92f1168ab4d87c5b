"""`callbacks listen`: forward deliveries to a receiver on this machine, as they are made.

Each delivery is a job, so the client's watch of their kind shows each of them once, across lost connections. What it
would send (body, `webhook-id`) is read from the API. The API never returns the secrets that sign callbacks, so `listen`
signs with one of its own, or with that of a file.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec
import typer
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from acked_cli import settings
from acked_cli.commands.submit import events_of
from acked_cli.invocation.verb import Cli, usage, verb
from acked_cli.output.writer import Format
from acked_client import Acked, Delivery, NotFound, RetryPolicy

DELIVERIES = "acked.callback"
"""The kind of the jobs that deliver."""
JOB_TAG = "callback:"
"""They have a tag of this and the id of the job whose end they report."""
MADE_REV = 1
"""The revision of a job that no worker has claimed yet."""
WITHIN_S = 15.0
"""As long as a worker waits for a receiver."""
OUTAGE_S = RetryPolicy().outage_s
"""A delivery is read again for as long as the watch reconnects."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - how Standard Webhooks marks secrets
SECRET_BYTES = 32

ForwardTo = Annotated[str, typer.Option("--forward-to", metavar="URL", help="The receiver, such as localhost:9000/x.")]
On = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="EVENT", help="succeeded, failed or cancelled; may be repeated. Default: all."),
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", metavar="NAME", help="Only deliveries to this callback endpoint.")
]
SecretFile = Annotated[
    Path | None,
    typer.Option("--secret-file", metavar="FILE", help="Sign with the secret in it. Default: a new one, shown once."),
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verb(app, "listen")(listen)


@dataclass(frozen=True, slots=True)
class LocalReceiver:
    """Where deliveries go: a URL, and what signs them."""

    url: str
    webhook: Webhook
    http: httpx2.Client

    def send(self, delivery: Delivery) -> dict[str, Any]:
        """Send a delivery once, as a worker would. Return the record of what came of it; a failure is no exception."""
        body = msgspec.json.encode(delivery.body)
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "acked",
            "idempotency-key": delivery.webhook_id,
            "webhook-id": delivery.webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self.webhook.sign(delivery.webhook_id, now, body.decode()),
        }
        began, status, failure = time.monotonic(), None, None
        try:
            # Its body is of no use, and may be long.
            with self.http.stream("POST", self.url, content=body, headers=headers) as response:
                status = response.status_code
        except httpx2.HTTPError as error:
            failure = f"{type(error).__name__}: {error}"
        if status is not None and not 200 <= status < 300:
            failure = f"the receiver returned {status}"
        return {
            "at": now,
            "id": delivery.id,
            "job": delivery.job,
            "event": delivery.event,
            "endpoint": delivery.endpoint,
            "webhook_id": delivery.webhook_id,
            "status": status,
            "took_s": round(time.monotonic() - began, 3),
            "error": failure,
        }


def listen(
    cli: Cli, forward_to: ForwardTo, on: On = None, endpoint: Endpoint = None, secret_file: SecretFile = None
) -> None:
    """Forward deliveries of callbacks to a receiver on this machine, a line each.

    The receiver needs no public address. Each delivery is sent once, beside what Acked itself sends. End it with
    Ctrl-C.
    """
    if cli.writer.format is Format.JSON:
        raise usage("listen never ends, so it is no JSON document: use -o ndjson")
    events = events_of(on or ())
    url = forwarding_url(forward_to)
    secret = new_secret() if secret_file is None else settings.signing_secret(secret_file)
    webhook = _webhook(secret)
    # Not by a proxy, and only to the address that was typed.
    with (
        httpx2.Client(timeout=WITHIN_S, trust_env=False, follow_redirects=False) as http,
        Acked(cli.gateway, token=settings.token(cli.token_file), retry=RetryPolicy(budget_s=OUTAGE_S)) as reader,
    ):
        receiver = LocalReceiver(url, webhook, http)
        cli.writer.note(f"forwarding to {url}; end it with Ctrl-C")
        if secret_file is None:
            cli.writer.note(f"signed with {secret}, a secret of this run; --secret-file FILE signs with another one")
        for event in cli.acked.watch(kind=DELIVERIES):
            if event.rev != MADE_REV:
                # It is under way, or was before this began.
                continue
            delivery = _read(reader, event.id)
            if delivery is None:
                cli.writer.note(f"acked: delivery {event.id} was not forwarded: it or its job was erased or deleted")
            elif _is_chosen(delivery, events, endpoint):
                cli.writer.line("forwarded", receiver.send(delivery))


def _read(reader: Acked, delivery_id: str) -> Delivery | None:
    """Return a delivery; None if it is gone."""
    try:
        tags = reader.job(delivery_id).status().tags
        job = next((tag.removeprefix(JOB_TAG) for tag in tags if tag.startswith(JOB_TAG)), "")
        return next((one for one in reader.job(job).callbacks() if one.id == delivery_id), None)
    except NotFound:
        return None


def _is_chosen(delivery: Delivery, events: Sequence[str], endpoint: str | None) -> bool:
    return (not events or delivery.event in events) and endpoint in (None, delivery.endpoint)


def forwarding_url(text: str) -> str:
    """Return the URL of `--forward-to`, which may lack `http://`. Raise `BadInput`."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL("")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise usage(f"--forward-to is a URL, such as http://localhost:9000/hook, not {text!r}")
    return url


def new_secret() -> str:
    """Return a new secret of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _webhook(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (binascii.Error, EmptyWebhookSecretError, ValueError):
        raise usage("the file of --secret-file holds no secret of Standard Webhooks: it begins with whsec_") from None
