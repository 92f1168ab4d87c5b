"""Callbacks: what a submission sends, deliveries and their repetition, and secrets that are shown once."""

import json
from typing import Any

import pytest

from acked_client import Callback, MadeCallbackSecret, NoResponse, Submission, problems
from acked_client.core import callbacks, jobs
from acked_client.core.effects import Response
from support.client_flows import LOST, NEVER_SENT, STATUS, Script, delivery, ok, refused, session

ID, DELIVERY = STATUS["id"], delivery()["id"]
MADE = {"id": "cs_2", "made_at": STATUS["accepted_at"], "ends_at": None}
BEFORE = MADE | {"id": "cs_1"}
WITH_VALUE = MADE | {"secret": "whsec_never-shown"}


def page(*found: dict[str, Any], token: str = "") -> Response:
    return ok({"deliveries": list(found), "next_page_token": token})


def secrets(*found: dict[str, Any]) -> Response:
    return ok({"secrets": list(found)})


@pytest.mark.parametrize(
    ("callback", "sent"),
    [
        ("https://hooks.example/x", {"url": "https://hooks.example/x"}),
        (Callback(url="https://hooks.example/x"), {"url": "https://hooks.example/x"}),
        (
            Callback(url="https://hooks.example/x", events=["job.failed"]),
            {"url": "https://hooks.example/x", "events": ["job.failed"]},
        ),
    ],
    ids=["url", "all-events", "one-event"],
)
def test_submission_names_what_is_called(callback: Callback | str, sent: dict[str, Any]) -> None:
    request = jobs.submit_request(Submission(kind="hello", callback=callback), lambda: "k")
    assert json.loads(request.body or b"") == {"kind": "hello", "callback": sent}


def test_events_are_no_string() -> None:
    wrong = Submission(kind="hello", callback=Callback(url="https://hooks.example/x", events="job.failed"))
    with pytest.raises(TypeError, match="events"):
        jobs.submit_request(wrong, lambda: "k")


def test_deliveries_have_their_attempts() -> None:
    (found,) = Script([page(delivery())]).run(callbacks.deliveries(session(), ID).next())
    (attempt,) = found.attempts
    assert attempt.response is not None and (attempt.response.status, attempt.error) == (500, "status 500")
    assert (found.event, found.webhook_id) == ("job.succeeded", f"{ID}_1_succeeded")


def test_resend_whose_response_was_lost_is_not_repeated() -> None:
    other = delivery(id="other", webhook_id=f"{ID}_2_failed", resend=3)
    again = delivery(id="again", resend=1, state="scheduled")
    script = Script([page(other, delivery()), LOST, page(again, other, delivery())])
    found = script.run(callbacks.resend(session(), ID, DELIVERY))
    assert (found.id, found.resend, found.webhook_id) == ("again", 1, f"{ID}_1_succeeded")
    assert [request.method for request in script.requests] == ["GET", "POST", "GET"]
    assert script.requests[1].path == f"/jobs/{ID}/callbacks/{DELIVERY}/resend"


def test_resend_that_did_not_arrive_is_repeated() -> None:
    resent = {"id": "again", "webhook_id": f"{ID}_1_succeeded", "resend": 1}
    unknown = refused("outcome-unknown", 503)
    script = Script([page(delivery()), LOST, page(delivery()), unknown, page(delivery()), ok(resent, 202)])
    assert script.run(callbacks.resend(session(), ID, DELIVERY)).id == "again"
    assert [request.method for request in script.requests] == ["GET", "POST", "GET", "POST", "GET", "POST"]


def test_resend_finds_its_delivery_on_a_later_page() -> None:
    newer = delivery(id="newer", resend=7)
    again = delivery(id="again", resend=8)
    script = Script([page(newer, token="t"), page(delivery()), LOST, page(again, newer)])
    assert script.run(callbacks.resend(session(), ID, DELIVERY)).resend == 8
    assert script.requests[1].query["page_token"] == "t"


def test_resend_of_an_unknown_delivery_is_the_problem() -> None:
    script = Script([page(delivery()), refused("not-found", 404)])
    with pytest.raises(problems.NotFound):
        script.run(callbacks.resend(session(), ID, "unknown"))


def test_made_secret_is_in_no_representation() -> None:
    script = Script([secrets(BEFORE), ok(WITH_VALUE, 201)])
    made = script.run(callbacks.make_secret(session()))
    assert isinstance(made, MadeCallbackSecret) and made.secret == WITH_VALUE["secret"]
    assert made.secret not in repr(made) and made.secret not in str([made])


def test_secret_whose_value_was_lost_is_not_made_twice() -> None:
    script = Script([secrets(BEFORE), LOST, secrets(MADE, BEFORE)])
    with pytest.raises(NoResponse, match="cs_2") as caught:
        script.run(callbacks.make_secret(session()))
    assert caught.value.may_have_arrived
    assert [request.method for request in script.requests] == ["GET", "POST", "GET"]


def test_secret_that_was_not_made_is_requested_again() -> None:
    script = Script([secrets(), NEVER_SENT, LOST, secrets(), ok(WITH_VALUE, 201)])
    assert script.run(callbacks.make_secret(session())).id == "cs_2"
    with pytest.raises(problems.TwoSecrets):
        Script([secrets(MADE, BEFORE), refused("two-secrets", 409)]).run(callbacks.make_secret(session()))


def test_secret_that_has_ended_is_not_ended_again() -> None:
    script = Script([LOST, secrets(MADE, BEFORE), Response(502), secrets(MADE)])
    assert [left.id for left in script.run(callbacks.end_secret(session(), "cs_1"))] == ["cs_2"]
    assert [request.method for request in script.requests] == ["POST", "GET", "POST", "GET"]
    with pytest.raises(problems.NotFound):
        Script([refused("not-found", 404)]).run(callbacks.end_secret(session(), "cs_1"))
