"""Jobs with durable calls in a real browser: what they did, what they wait for, and what a person does about it."""

from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.browser import Browser
from support.nonce import nonce
from support.pages import open_as
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>"
A_MONTH_S = 30 * 86_400


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", "signal", tenant="default", client="ada"))


@pytest.fixture(scope="module")
def reader(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "read", tenant="default", client="rae"))


def parked(client: Client, kind: str, name: str, **payload: Any) -> str:
    """Return a job that waits at this call."""
    job_id = client.process(kind, payload=payload)
    waits_at(client, job_id, name)
    return job_id


def waits_at(client: Client, job_id: str, name: str) -> None:
    def look() -> bool:
        return bool(client.call("GET", f"/status/{job_id}").body.get("waits", {}).get("name") == name)

    eventually(look, within_s=60, what=f"it waits at {name}")


def timeline(browser: Browser) -> str:
    return " ".join(shown(browser, "table", "What happened").text.split())


def timeline_says(browser: Browser, text: str) -> None:
    until(browser, lambda: text in timeline(browser), what=lambda: f"{text!r} in {timeline(browser)}")


def test_a_signal_is_sent_once_and_taken(operator: Client, browser: Browser) -> None:
    job_id = parked(operator, "test.signalled", "go", count=2)
    open_as(browser, operator, f"/jobs/{job_id}")
    says(browser, "Waits for signal 'go' since")
    says(browser, "Only a signal ends this wait")
    assert not all_shown(browser, "button", "^End this sleep now$")
    shown(browser, "button", "^Send a signal$").click()
    assert shown(browser, "combobox", "^Name$").call("return this.value") == "go"
    value, confirm = shown(browser, "textbox", "^Value, as JSON$"), shown(browser, "button", "^Send the signal$")
    value.type("{oops}")
    confirm.click()
    says(browser, "line 1, column 2")
    assert operator.call("GET", f"/jobs/{job_id}/signals").body["received"] == 0
    value.type('{"run": 12345678901234567890.5}')
    confirm.call("this.click(); this.click()")
    timeline_says(browser, "Took signal go[0]")
    assert operator.call("GET", f"/jobs/{job_id}/signals").body["received"] == 1
    signals = shown(browser, "table", "^Signals").text
    assert "Taken by go" in " ".join(signals.split()) and "ada" in signals
    # Another sender, and another name: the page follows by itself.
    assert operator.call("POST", f"/jobs/{job_id}/signals/near", 1).status == 202
    says(browser, "the job does not wait for this name")
    assert operator.call("POST", f"/jobs/{job_id}/signals/go", RUN).status == 202
    says(browser, rf"\b{State.SUCCEEDED}\b")
    timeline_says(browser, "Took signal go[1]")
    assert not all_shown(browser, "button", "^Send a signal$")
    assert browser.complaints() == []


def test_a_sleep_is_shown_and_ended_by_hand(operator: Client, browser: Browser, tmp_path: Path) -> None:
    job_id = parked(operator, "test.sleeps", "rest", folder=str(tmp_path), sleep_s=A_MONTH_S)
    open_as(browser, operator, f"/jobs/{job_id}")
    says(browser, "Ends in 29 d 23 h")
    timeline_says(browser, "Step first")
    timeline_says(browser, "Sleep rest until 20")
    shown(browser, "button", "^End this sleep now$").click()
    says(browser, "The handler continues as if it had ended")
    shown(browser, "button", "^End the sleep$").click()
    waits_at(operator, job_id, "rest-again")
    timeline_says(browser, "Sleep rest ended early by an operator at 20")
    timeline_says(browser, "Run at once by ada")
    timeline_says(browser, "Sleep rest-again until 20")
    shown(browser, "button", "^End this sleep now$").click()
    shown(browser, "button", "^End the sleep$").click()
    says(browser, rf"\b{State.SUCCEEDED}\b")
    timeline_says(browser, "Step last")
    assert browser.complaints() == []


def test_failed_steps_say_their_tries_and_errors_as_texts(operator: Client, browser: Browser) -> None:
    job_id = parked(operator, "test.tries", "paid-or-late", text=HOSTILE)
    open_as(browser, operator, f"/jobs/{job_id}")
    timeline_says(browser, f'Step charge["{HOSTILE}"] failed 3 tries ValueError: {HOSTILE}')
    timeline_says(browser, "Recorded the value refused")
    timeline_says(browser, "Waits at paid-or-late until 20")
    says(browser, "Ends in 13 d 23 h")
    # It waits for a signal too, which no one may decide for the handler.
    assert not all_shown(browser, "button", "^End this sleep now$")
    shown(browser, "button", "^Send a signal$")
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert f"/jobs/{job_id}/signals/paid" in text_of(browser) and f"/jobs/{job_id}/steps?order=newest" in text_of(
        browser
    )
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert browser.complaints() == []


def test_what_a_token_does_not_allow_has_no_button(
    operator: Client, reader: Client, browser: Browser, tmp_path: Path
) -> None:
    asleep = parked(operator, "test.sleeps", "rest", folder=str(tmp_path), sleep_s=A_MONTH_S)
    for job_id in (asleep, parked(operator, "test.signalled", "go", count=1)):
        open_as(browser, reader, f"/jobs/{job_id}")
        says(browser, "it holds no worker")
        assert not all_shown(browser, "button", "^(End this sleep now|Send a signal|Cancel)$")
    assert browser.complaints() == []


def test_parked_jobs_are_found_by_what_they_wait_for(operator: Client, browser: Browser, tmp_path: Path) -> None:
    go = [parked(operator, "test.signalled", "go", count=1, run=RUN) for _ in range(2)]
    paid = parked(operator, "test.tries", "paid-or-late", text=RUN)
    open_as(browser, operator, "/jobs?waiting_for=signal:go")
    ids = "return [...document.querySelectorAll('tbody a[data-open]')].map((one) => one.title)"
    until(browser, lambda: {*go} <= {*browser.run(ids)}, what=lambda: "the jobs that wait for go")
    assert paid not in browser.run(ids)
    says(browser, "signal go")
    # What follows is done to these, and to no other job.
    shown(browser, "button", "^Choose all that match$").click()
    shown(browser, "button", "^Cancel$").click()
    says(browser, "Jobs that wait for signal go")
    until(browser, lambda: all_shown(browser, "button", r"^Cancel \d+ jobs$"), what=lambda: "the preview")
    shown(browser, "button", r"^Cancel \d+ jobs$").click()
    for job_id in go:
        state = operator.call("GET", f"/status/{job_id}?wait_s=30").body["state"]
        assert state == State.CANCELLED
    assert operator.call("GET", f"/status/{paid}").body["state"] == State.WAITING
    open_as(browser, operator, "/jobs")
    shown(browser, "searchbox", "^Find jobs").type("waiting_for:signal:paid")
    shown(browser, "button", "^Find$").click()
    until(browser, lambda: paid in browser.run(ids), what=lambda: "the job that waits for paid")
    assert "waiting_for=signal%3Apaid" in browser.run("return location.search")
    assert browser.complaints() == []


def test_the_newest_of_many_calls_are_shown_and_earlier_ones_on_request(operator: Client, browser: Browser) -> None:
    many = 130
    job_id = parked(operator, "test.signalled", "go", count=many + 1)
    for number in range(many):
        assert operator.call("POST", f"/jobs/{job_id}/signals/go", number).status == 202
    eventually(
        lambda: (
            operator.call("GET", f"/jobs/{job_id}").body["steps"] | {"newest": None}
            == {"kept": many, "unread": 0, "newest": None}
        ),
        within_s=60,
        what="all are taken",
    )
    waits_at(operator, job_id, "go")
    rows = "return [...document.querySelectorAll('tr.call th')].map((one) => one.innerText.match(/\\[(\\d+)\\]/)[1])"
    open_as(browser, operator, f"/jobs/{job_id}")
    until(browser, lambda: len(browser.run(rows)) == 100, what=lambda: "the newest 100")
    assert {*browser.run(rows)} == {str(n) for n in range(many - 100, many)}
    shown(browser, "button", "^Show earlier durable calls$").click()
    until(browser, lambda: len(browser.run(rows)) == many, what=lambda: "all of them")
    assert not all_shown(browser, "button", "^Show earlier durable calls$")
    assert operator.call("POST", f"/jobs/{job_id}/signals/go", 1).status == 202
    until(browser, lambda: len(browser.run(rows)) == many + 1, what=lambda: "the last one too")
    assert browser.complaints() == []
