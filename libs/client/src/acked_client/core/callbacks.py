"""The calls of callbacks: their deliveries, and the secrets that sign them. Pure."""

from urllib.parse import quote

import msgspec

from acked_client.core import json_text
from acked_client.core.effects import Flow, Request, Response
from acked_client.core.exchange import Session, exchange, fetch
from acked_client.core.jobs import path_of
from acked_client.core.lists import Pages
from acked_client.model.callbacks import CallbackSecret, Delivery, MadeCallbackSecret, Resent
from acked_client.model.errors import NoResponse

_SECRETS = "/callback-secrets"
_PAGE = 20


class _Secrets(msgspec.Struct):
    secrets: list[CallbackSecret]


def deliveries(session: Session, job_id: str) -> Pages[Delivery]:
    """Return the pages of the deliveries of a job, newest first."""
    return Pages(session, path_of(job_id, "callbacks"), {"page_size": str(_PAGE)}, "deliveries", Delivery)


def all_deliveries(session: Session, state: str | None) -> Pages[Delivery]:
    """Return the pages of the deliveries of all jobs, newest event first; `state` is that of the deliveries."""
    query = {"page_size": str(_PAGE)} | ({} if state is None else {"state": state})
    return Pages(session, "/callbacks", query, "deliveries", Delivery)


def resend(session: Session, job_id: str, delivery: str) -> Flow[Resent]:
    """Send the event of a delivery again.

    A repetition would be refused while the new delivery is sent, and make another one afterwards. So the client looks
    for the new one before it repeats the request.
    """
    known = yield from _listed_until(session, job_id, delivery)
    webhook_id = next((one.webhook_id for one in known if one.id == delivery), None)
    before = max((one.resend for one in known if one.webhook_id == webhook_id), default=0)

    def check() -> Flow[Response | None]:
        for one in (yield from deliveries(session, job_id).next()):
            if one.webhook_id == webhook_id and one.resend > before:
                found = Resent(id=one.id, webhook_id=one.webhook_id, resend=one.resend)
                return Response(202, {}, msgspec.json.encode(found))
        return None

    request = Request("POST", path_of(job_id, "callbacks", delivery, "resend"))
    response = yield from exchange(session, request, check=check)
    return json_text.decode(response.body, Resent, response.status)


def _listed_until(session: Session, job_id: str, delivery: str) -> Flow[list[Delivery]]:
    """Return the deliveries of a job, newest first, at least as far as this one. Its event's newest are among them."""
    pages = deliveries(session, job_id)
    found: list[Delivery] = []
    while not pages.is_done and all(one.id != delivery for one in found):
        found += yield from pages.next()
    return found


def secrets(session: Session) -> Flow[list[CallbackSecret]]:
    """Return the secrets that sign now, newest first."""
    return (yield from fetch(session, Request("GET", _SECRETS), _Secrets)).secrets


def make_secret(session: Session) -> Flow[MadeCallbackSecret]:
    """Make a secret, or rotate it. Raise `NoResponse` if the response that had its value was lost.

    A repetition would make another secret, beside one whose value nobody has.
    """
    known = {secret.id for secret in (yield from secrets(session))}

    def check() -> Flow[Response | None]:
        lost = [secret.id for secret in (yield from secrets(session)) if secret.id not in known]
        if lost:
            raise NoResponse(
                f"secret {lost[0]} was made, but the response with its value was lost: end it, and make another one",
                may_have_arrived=True,
            )
        return None

    response = yield from exchange(session, Request("POST", _SECRETS), check=check)
    return json_text.decode(response.body, MadeCallbackSecret, response.status)


def end_secret(session: Session, secret_id: str) -> Flow[list[CallbackSecret]]:
    """End a secret at once and return those that are left."""

    def check() -> Flow[Response | None]:
        response = yield from exchange(session, Request("GET", _SECRETS))
        left = json_text.decode(response.body, _Secrets, response.status).secrets
        return None if any(secret.id == secret_id for secret in left) else response

    request = Request("POST", f"{_SECRETS}/{quote(secret_id, safe='')}/end")
    response = yield from exchange(session, request, check=check)
    return json_text.decode(response.body, _Secrets, response.status).secrets
