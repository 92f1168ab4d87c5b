"""The pages of schedules in a real browser: made, seen to fire, paused, run, edited and deleted by a person.

A tester can set `ACKED_TEST_NONCE`; it stands in names, payloads and reasons, so that no canned answer passes.
"""

import os
import subprocess
from typing import Any

import pytest
from selenium.webdriver import Keys

from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.browser import Browser
from support.nonce import nonce
from support.pages import open_as
from support.roles import all_shown, says, shown, until
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>"
FIRES_WITHIN_S = 60.0
"""A second or two, on a quiet machine."""
LARGE = "12345678901234567890.50"


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="default", client="ada"))


@pytest.fixture(scope="module")
def reader(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "read", tenant="default", client="rae"))


@pytest.fixture(scope="module")
def stranger(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "read", "submit", tenant="empty", client="eve"))


def defined(client: Client, name: str, **fields: Any) -> Any:
    response = client.call("PUT", f"/schedules/{name}", {"kind": "noop", **fields})
    assert response.status in (200, 201), response.raw
    return response.body


def stored(client: Client, name: str) -> Any:
    return client.call("GET", f"/schedules/{name}").body


def started(client: Client, name: str) -> list[str]:
    """The jobs of a schedule."""
    firings = client.call("GET", f"/schedules/{name}/firings").body["firings"]
    return [one["job"] for one in firings if one["outcome"] == "started"]


def choose(browser: Browser, field: str, option: str) -> None:
    shown(browser, "combobox", f"^{field}").call(
        "this.value = [...this.options].find(({ text }) => text.startsWith(args[0])).value;"
        "this.dispatchEvent(new Event('input', { bubbles: true }))",
        option,
    )


def rows(browser: Browser) -> list[str]:
    return [
        " ".join(row.split())
        for row in browser.run("return [...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    ]


def row_of(browser: Browser, name: str) -> str:
    found = [row for row in rows(browser) if row.startswith(f"{name} ")]
    return found[0] if len(found) == 1 else ""


def test_a_new_schedule_shows_when_it_is_due_before_it_is_saved(operator: Client, browser: Browser) -> None:
    name = f"made-{RUN}"
    open_as(browser, operator, "/schedules")
    shown(browser, "button", "^New schedule$").click()
    shown(browser, "textbox", "^Name$").type(name)
    shown(browser, "combobox", "^Kind of its jobs$").type("test.echo")
    cron, payload = shown(browser, "textbox", "^Minute, hour"), shown(browser, "textbox", "^Payload, as JSON$")
    cron.type("99 2 * * *")
    says(browser, "bad minute")
    cron.type("30 2 * * *")
    shown(browser, "combobox", "^Time zone$").type("Europe/Berlin")
    says(browser, r"\d{4}-\d\d-\d\d 02:30:00\+0[12]:00")
    says(browser, "In Europe/Berlin")
    assert operator.call("GET", f"/schedules/{name}").status == 404
    payload.type("{oops}")
    shown(browser, "button", "^Save the schedule$").click()
    says(browser, "line 1, column 2")
    payload.type(f'{{"n": {LARGE}}}')
    save = shown(browser, "button", "^Save the schedule$")
    save.call("this.click(); this.click()")
    shown(browser, "heading", f"^Schedule {name}$")
    says(browser, "Every day at 02:30")
    found = operator.call("GET", f"/schedules/{name}")
    assert f'"n": {LARGE}'.encode() in found.raw or f'"n":{LARGE}'.encode() in found.raw
    assert (found.body["cron"], found.body["timezone"], found.body["revision"]) == ("30 2 * * *", "Europe/Berlin", 1)
    says(browser, LARGE)
    says(browser, "It has not fired yet")
    # The browser itself writes of the preview that was refused.
    assert all("422" in complaint for complaint in browser.complaints())


def test_a_name_that_is_taken_replaces_nothing(operator: Client, browser: Browser) -> None:
    name = f"taken-{RUN}"
    before = defined(operator, name, every_s=3600)
    open_as(browser, operator, "/schedules")
    shown(browser, "button", "^New schedule$").click()
    shown(browser, "textbox", "^Name$").type(name)
    shown(browser, "combobox", "^Kind of its jobs$").type("noop")
    choose(browser, "Due", "at a fixed interval")
    shown(browser, "textbox", "^Every$").type("5")
    shown(browser, "button", "^Save the schedule$").click()
    says(browser, f"There is a schedule {name} already")
    assert stored(operator, name) == before
    assert browser.complaints() == []


def test_firings_of_a_schedule_lead_to_their_jobs(operator: Client, browser: Browser) -> None:
    name = f"ticks-{RUN}"
    defined(operator, name, every_s=1, kind="demo", payload={"seconds": 600, "text": HOSTILE})
    open_as(browser, operator, f"/schedules/{name}")
    says(browser, "Every second")
    says(browser, "skipped", within_s=FIRES_WITHIN_S)
    says(browser, "a job of the schedule was still live")
    (job,) = started(operator, name)
    until(browser, lambda: all_shown(browser, "link", f"^…{job[-8:]}$"), what=lambda: "a link to the job")
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    open_as(browser, operator, "/schedules")
    until(browser, lambda: "Every second" in row_of(browser, name), what=lambda: f"its row: {rows(browser)}")
    assert "active" in row_of(browser, name)
    open_as(browser, operator, f"/jobs/{job}")
    shown(browser, "link", f"^{name}$").click()
    shown(browser, "heading", f"^Schedule {name}$")
    shown(browser, "button", "^Pause$").click()
    shown(browser, "textbox", "^Reason").type(f"night {RUN}")
    shown(browser, "button", "^Pause the schedule$").click()
    says(browser, f"by ada: night {RUN}")
    operator.call("POST", f"/jobs/{job}/cancel")
    assert browser.complaints() == []


def test_a_paused_schedule_runs_when_asked_and_resumes(operator: Client, browser: Browser) -> None:
    name = f"rests-{RUN}"
    defined(operator, name, cron="0 0 1 1 *", paused=True)
    open_as(browser, operator, f"/schedules/{name}")
    says(browser, "Paused")
    says(browser, "It does not fire while it is paused")
    shown(browser, "button", "^Run now$").click()
    says(browser, "by Run now", within_s=FIRES_WITHIN_S)
    # A firing that was asked for has the id of its job before there is one.
    (job,) = eventually(lambda: started(operator, name), within_s=FIRES_WITHIN_S, what="its job")
    assert operator.call("GET", f"/status/{job}?wait_s=30").body["state"] == State.SUCCEEDED
    until(
        browser,
        lambda: any(State.SUCCEEDED in row for row in rows(browser)),
        what=lambda: f"the state: {rows(browser)}",
    )
    shown(browser, "button", "^Resume$").click()
    says(browser, "Active")
    assert stored(operator, name)["paused"] is None
    assert browser.complaints() == []


def test_the_command_of_the_empty_page_sends_the_token_of_the_environment(stack: TestStack, browser: Browser) -> None:
    newcomer = Client(stack, make_token(stack, "submit", "read", tenant="new", client="nia"))
    open_as(browser, newcomer, "/schedules")
    says(browser, "No schedule yet")
    line = str(browser.run("return document.querySelector('main pre').innerText"))
    assert newcomer.token not in line
    sent = subprocess.run(
        ["/bin/sh", "-c", f"{line} -sS -o /dev/null -w '%{{http_code}}'"],
        env={**os.environ, "ACKED_TOKEN": newcomer.token},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert sent.stdout == "201", sent
    until(browser, lambda: row_of(browser, "nightly"), what=lambda: "its row")
    assert browser.complaints() == []


def test_an_edit_keeps_what_it_does_not_change(operator: Client, browser: Browser) -> None:
    name = f"edited-{RUN}"
    fields = {"cron": "5 * * * *", "timezone": "UTC", "tags": ["a", f"b {RUN}"], "overlap": "queue_one", "jitter_s": 7}
    before = defined(operator, name, **fields, batch="nightly", catch_up_s=60, until="2099-01-01T00:00:00Z", payload=1)
    open_as(browser, operator, f"/schedules/{name}")
    says(browser, "Every hour at 05 past")
    shown(browser, "button", "^Edit$").click()
    choose(browser, "Due", "at a fixed interval")
    shown(browser, "textbox", "^Every$").type("2")
    choose(browser, "Unit", "hours")
    shown(browser, "button", "^Save the schedule$").click()
    says(browser, "Every 2 hours")
    after = stored(operator, name)
    same = {"kind", "tags", "batch", "overlap", "jitter_s", "catch_up_s", "until", "payload", "made_at"}
    assert {field: after[field] for field in same} == {field: before[field] for field in same}
    assert (after["every_s"], after["cron"], after["revision"]) == (7200, None, 2)
    assert browser.complaints() == []


def test_a_schedule_is_deleted_with_the_keyboard_alone(operator: Client, browser: Browser) -> None:
    name = f"gone-{RUN}"
    defined(operator, name, every_s=3600)
    open_as(browser, operator, "/schedules")
    shown(browser, "searchbox", "^Name or kind contains").type(name)
    until(browser, lambda: len(rows(browser)) == 1, what=lambda: "the one row")
    browser.press(Keys.TAB)
    browser.run("document.activeElement.blur()")
    browser.press("j")
    until(browser, lambda: browser.run("return document.activeElement.innerText") == name, what=lambda: "the link")
    browser.press(Keys.ENTER)
    shown(browser, "heading", f"^Schedule {name}$")
    shown(browser, "button", "^Delete$").focus()
    browser.press(Keys.ENTER)
    shown(browser, "button", "^Delete the schedule$")
    browser.press(Keys.ENTER)
    until(browser, lambda: browser.run("return location.pathname") == "/schedules", what=lambda: "the list")
    assert operator.call("GET", f"/schedules/{name}").status == 404
    assert browser.complaints() == []


def test_what_a_token_does_not_allow_has_no_button(
    operator: Client, reader: Client, stranger: Client, browser: Browser
) -> None:
    name = f"seen-{RUN}"
    defined(operator, name, every_s=3600)
    acts = "^(New schedule|Run now|Pause|Resume|Edit|Delete)$"
    open_as(browser, reader, "/schedules")
    until(browser, lambda: row_of(browser, name), what=lambda: "its row")
    assert not all_shown(browser, "button", acts)
    open_as(browser, reader, f"/schedules/{name}")
    says(browser, "Every hour")
    assert not all_shown(browser, "button", acts)
    open_as(browser, stranger, "/schedules")
    says(browser, "No schedule yet")
    shown(browser, "button", "^New schedule$")
    open_as(browser, stranger, f"/schedules/{name}")
    says(browser, f"There is no schedule {name}")
    assert all("404" in complaint for complaint in browser.complaints())
