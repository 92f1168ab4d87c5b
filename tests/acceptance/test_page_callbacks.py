"""The pages of callbacks in a real browser: secrets that are shown once, deliveries with their attempts, sending again.

A tester can set `ACKED_TEST_NONCE`; it stands in the URLs, so that no canned answer passes.
"""

import pytest
from standardwebhooks import Webhook

from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.browser import Browser
from support.callback_receiver import receiving
from support.nonce import nonce
from support.pages import open_as
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import TestStack, eventually

ENVIRON = {
    "ACKED_ACCESS": "tokens",
    "ACKED_HTTP_CALL_ALLOW": "127.0.0.1",
    "ACKED_CALLBACK_RETRIES_S": "0.1,0.1",
}
RUN = nonce()


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="default", client="ada"))


@pytest.fixture(scope="module")
def reader(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "read", tenant="default", client="rae"))


def secrets(client: Client) -> list[str]:
    return [one["id"] for one in client.call("GET", "/callback-secrets").body["secrets"]]


def confirmed(browser: Browser, button: str, confirm: str) -> None:
    shown(browser, "button", button).click()
    shown(browser, "button", confirm).click()


def test_secrets_are_made_rotated_and_ended_and_shown_once(operator: Client, browser: Browser) -> None:
    open_as(browser, operator, "/callbacks")
    says(browser, "No secret signs callbacks yet")
    shown(browser, "button", "^Make a secret$").click()
    says(browser, r"whsec_\S+")
    value = str(browser.run("return document.querySelector('main').innerText.match(/whsec_[A-Za-z0-9+/=]+/)[0]"))
    with receiving() as receiver:
        operator.process("noop", callback={"url": receiver.url})
        (call,) = receiver.wait(1)
    assert Webhook(value).verify(call.body, call.headers)["type"] == "job.succeeded"
    (first,) = secrets(operator)
    confirmed(browser, "^Rotate the secret$", "^Make a new secret$")
    says(browser, "Only two sign at a time")
    assert value not in text_of(browser)
    second, earlier = secrets(operator)
    assert earlier == first
    confirmed(browser, f"^End {first}$", "^End the secret$")
    until(browser, lambda: secrets(operator) == [second], what=lambda: "one is left")
    says(browser, "until it is rotated")
    shown(browser, "button", "^I have stored it$").click()
    until(browser, lambda: "whsec_" not in text_of(browser), what=lambda: "the value is gone")
    open_as(browser, operator, "/callbacks")
    says(browser, second)
    assert "whsec_" not in browser.run("return document.documentElement.outerHTML")
    assert browser.complaints() == []


def test_a_delivery_shows_its_attempts_and_is_sent_again(operator: Client, browser: Browser) -> None:
    if not secrets(operator):
        assert operator.call("POST", "/callback-secrets").status == 201
    with receiving(500, 307) as receiver:
        job = operator.process("noop", callback={"url": receiver.url})
        receiver.wait(3)
        open_as(browser, operator, f"/jobs/{job}")
        says(browser, "The receiver accepted the event")
        says(browser, "3 attempts, the last: 204 after")
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        for text in ("Status 500", "Status 307", "webhook-id", f"{job}_1_succeeded", "job.succeeded"):
            assert text in text_of(browser)
        shown(browser, "button", "^Send job.succeeded of job .* again$").click()
        receiver.wait(4)
        says(browser, "resend 1")
        # The newest delivery of the event alone has a button, once it has ended.
        shown(browser, "button", "^Send job.succeeded of job .* again$")
        open_as(browser, operator, "/callbacks")
        at = f"127.0.0.1:{receiver.port}/hook"
        until(browser, lambda: text_of(browser).count(at) == 2, what=lambda: f"both are in the list of all: {at}")
    shown(browser, "link", f"^{State.CANCELLED}$").click()
    says(browser, "No delivery is in this state")
    assert browser.complaints() == []


def test_an_undelivered_event_is_found_by_its_state(operator: Client, browser: Browser) -> None:
    with receiving(410) as receiver:
        job = operator.process("noop", callback={"url": receiver.url})
        eventually(
            lambda: operator.call("GET", f"/status/{job}").body["callback"]["state"] == "undelivered",
            within_s=60,
            what="it fails",
        )
        open_as(browser, operator, f"/callbacks?state={State.FAILED}")
        says(browser, f"of job …{job[-8:]}")
        shown(browser, "link", f"^job …{job[-8:]}$").click()
        says(browser, "The receiver did not accept the event")
        shown(browser, "button", "^Send job.succeeded of job .* again$").click()
        receiver.wait(2)
        says(browser, "resend 1")
        says(browser, "One attempt: 204 after")
    (delivery, _) = operator.call("GET", f"/jobs/{job}/callbacks").body["deliveries"]
    open_as(browser, operator, f"/jobs/{delivery['id']}")
    says(browser, "Delivers a callback of")
    assert browser.complaints() == []


def test_an_endpoint_is_defined_gets_events_and_is_deleted(operator: Client, browser: Browser) -> None:
    if not secrets(operator):
        assert operator.call("POST", "/callback-secrets").status == 201
    name = f"billing-{RUN[:8].lower()}"
    open_as(browser, operator, "/callbacks")
    says(browser, "No endpoint yet")
    with receiving() as receiver:
        shown(browser, "button", "^New endpoint$").click()
        shown(browser, "textbox", "^Name$").type(name)
        shown(browser, "textbox", "^URL$").type("http://10.0.0.1/hook")
        shown(browser, "checkbox", "job.succeeded$").click()
        shown(browser, "textbox", "^Kinds").type("flaky")
        shown(browser, "textbox", "^Headers").type("authorization: Bearer of-a-person")
        shown(browser, "button", "^Save the endpoint$").click()
        says(browser, "url .*10.0.0.1")
        assert ["422" in complaint for complaint in browser.complaints()] == [True], "the refusal alone"
        shown(browser, "textbox", "^URL$").type(receiver.url)
        shown(browser, "button", "^Save the endpoint$").click()
        says(browser, "job.failed, job.cancelled, of flaky; with the headers authorization")
        assert "of-a-person" not in browser.run("return document.documentElement.outerHTML")
        job = operator.process("flaky", max_attempts=1, payload={"failures": 9})
        (call,) = receiver.wait(1)
        assert call.headers["authorization"] == "Bearer of-a-person"
        open_as(browser, operator, f"/jobs/{job}")
        says(browser, f"{name}: POST")
        open_as(browser, operator, "/callbacks")
        confirmed(browser, f"^Disable {name}$", "^Disable the endpoint$")
        says(browser, "by ada")
        shown(browser, "button", f"^Enable {name}$").click()
        shown(browser, "button", f"^Disable {name}$")
        confirmed(browser, f"^Delete {name}$", "^Delete the endpoint$")
        says(browser, "No endpoint yet")
    assert browser.complaints() == []


def test_the_overview_names_an_endpoint_that_acked_disabled(operator: Client, browser: Browser) -> None:
    if not secrets(operator):
        assert operator.call("POST", "/callback-secrets").status == 201
    name = f"gone-{RUN[:8].lower()}"
    with receiving(410) as receiver:
        endpoint = {"url": receiver.url, "kinds": ["noop"]}
        assert operator.call("PUT", f"/callback-endpoints/{name}", endpoint).status == 201
        operator.process("noop")
        receiver.wait(1)
        open_as(browser, operator, "/")
        says(browser, f"Callback endpoint {name} gets no events: Acked disabled it")
        # The last actions have links of the same name.
        all_shown(browser, "link", f"^{name}$")[0].click()
        says(browser, "disabled by Acked")
    assert operator.call("DELETE", f"/callback-endpoints/{name}").status == 200
    assert browser.complaints() == []


def test_what_a_token_does_not_allow_is_not_there(operator: Client, reader: Client, browser: Browser) -> None:
    with receiving() as receiver:
        job = operator.process("noop", callback={"url": receiver.url})
        receiver.wait(1)
    for path in ("/callbacks", f"/jobs/{job}"):
        open_as(browser, reader, path)
        says(browser, "One attempt: 204 after")
        assert not all_shown(browser, "button", "^(Make a secret|Rotate the secret|End .*|Send .* again)$")
        assert "cs_" not in text_of(browser)
    assert browser.complaints() == []
