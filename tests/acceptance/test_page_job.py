"""The page of one job in a real browser: what happened to it, what it holds, and what a person does about it."""

from typing import Any

from selenium.webdriver import Keys

from acked_common.model.lifecycle import Reason, State
from support.browser import Browser
from support.nonce import nonce
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import TestStack, eventually

RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>"
LARGE = 12345678901234567
SPILLS = {"kind": "test.spills", "max_attempts": 1}


def visit(browser: Browser, stack: TestStack, job_id: str, state: str = "", hash_: str = "") -> None:
    browser.open(f"http://127.0.0.1:{stack.gateway_port}/jobs/{job_id}{hash_}")
    if state:
        says(browser, rf"\b{state}\b")


def job(stack: TestStack, job_id: str) -> Any:
    return stack.call("GET", f"/jobs/{job_id}").body


def failed(stack: TestStack, payload: Any, **fields: Any) -> str:
    job_id = stack.process(**SPILLS, payload=payload, **fields)
    assert stack.finished(job_id)["state"] == State.FAILED
    return job_id


def text_of_timeline(browser: Browser) -> str:
    return shown(browser, "table", "What happened").text


def test_the_timeline_has_both_errors_of_a_job_that_succeeded_in_the_end(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("test.stumbles", payload={"nonce": RUN})
    assert stack.finished(job_id)["state"] == State.SUCCEEDED
    visit(browser, stack, job_id, State.SUCCEEDED)
    said = text_of_timeline(browser)
    parts = [
        "Attempt 1 on worker-1 failed",
        f"LookupError: no order {RUN}",
        "Backs off",
        "Attempt 2 on worker-1 failed",
        f"ConnectionError: the shop of {RUN} is closed",
        "Attempt 3",
        "returned a result",
    ]
    places = [said.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), said
    shown(browser, "tab", r"^Errors \(2\)$").click()
    says(browser, "Traceback")
    panel = shown(browser, "tabpanel").text
    assert "in stumbles" in panel and panel.index("ConnectionError") < panel.index("LookupError")
    assert browser.complaints() == []


def test_tabs_are_worked_by_keys_and_stand_in_the_address(stack: TestStack, browser: Browser) -> None:
    job_id = failed(stack, {"mark": RUN})
    visit(browser, stack, job_id, State.FAILED)
    assert "can't do" in shown(browser, "tabpanel", "^Errors").text, "what a person comes for"
    shown(browser, "tab", "^Payload$").click()
    browser.press(Keys.ARROW_LEFT)
    assert '"error"' in shown(browser, "tabpanel", "^Raw JSON$").text
    browser.press(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "can't do" in shown(browser, "tabpanel", "^Errors").text
    assert browser.run("return location.hash") == "#tab=errors"
    browser.refresh()
    assert "can't do" in shown(browser, "tabpanel", "^Errors").text
    assert browser.complaints() == []


def test_whatever_a_job_holds_is_text(stack: TestStack, browser: Browser) -> None:
    job_id = failed(stack, {"text": HOSTILE, "number": LARGE}, batch=f"hostile.{RUN}", tags=[HOSTILE[:64]])
    resolution = {"state": State.SUCCEEDED, "result": HOSTILE, "note": HOSTILE}
    assert stack.call("POST", f"/jobs/{job_id}/resolve", resolution).status == 200
    for tab in ("payload", "result", "errors", "raw"):
        visit(browser, stack, job_id, State.SUCCEEDED, f"#tab={tab}")
        until(browser, lambda: "<img src=x" in shown(browser, "tabpanel").text, what=lambda: "the text")
        browser.open("about:blank")
    visit(browser, stack, job_id, State.SUCCEEDED)
    assert str(LARGE) in shown(browser, "tabpanel").text, "as it was sent"
    assert text_of(browser).count(HOSTILE) >= 3
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert RUN not in str(browser.run("return document.title"))
    assert browser.complaints() == []


def test_a_large_payload_is_shown_in_part_until_asked_for(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("noop", payload={"text": "a" * 100_000 + RUN})
    visit(browser, stack, job_id)
    panel = shown(browser, "tabpanel")
    assert RUN not in panel.text
    shown(browser, "button", r"^Show all of \d+ KiB$").click()
    assert RUN in panel.text


def test_edit_and_retry_is_one_job_however_often_it_is_clicked(stack: TestStack, browser: Browser) -> None:
    job_id = failed(stack, {"number": LARGE, "run": RUN}, batch=f"edit-{RUN}")
    visit(browser, stack, job_id, State.FAILED)
    shown(browser, "button", "^Edit and retry$").click()
    field = shown(browser, "textbox", "^Payload, as JSON$")
    assert str(LARGE) in str(field.call("return this.value"))
    field.type(f'{{\n  "number": {LARGE},\n  "run": oops\n}}')
    confirm = shown(browser, "button", "^Send it as a new job$")
    confirm.click()
    says(browser, "line 3, column 10")
    field.type(f'{{"number": {LARGE}, "run": "{RUN}", "edited": true}}')
    confirm.call("this.click(); this.click()")
    until(browser, lambda: browser.run("return location.pathname") != f"/jobs/{job_id}", what=lambda: "the new job")
    old = eventually(lambda: job(stack, job_id).get("edited_to"), within_s=10, what="the old one names the new one")
    new = job(stack, old)
    assert (new["payload"], new["edited_from"]) == ({"number": LARGE, "run": RUN, "edited": True}, job_id)
    assert sum(stack.batch(f"edit-{RUN}").values()) == 2
    shown(browser, "link", f"^{job_id}$").click()
    says(browser, "Edited: replaced by another job")
    shown(browser, "link", f"^{old}$")
    assert browser.complaints() == []


def test_resolve_asks_for_the_end_and_checks_its_result(stack: TestStack, browser: Browser) -> None:
    job_id = failed(stack, {"run": RUN})
    visit(browser, stack, job_id, State.FAILED)
    shown(browser, "button", "^Resolve$").click()
    shown(browser, "textbox", "^Result, as JSON").type("{by: hand}")
    shown(browser, "textbox", "^Note").type(f"called {RUN}")
    confirm = all_shown(browser, "button", "^Resolve$")[-1]
    confirm.click()
    says(browser, "line 1, column 2")
    shown(browser, "textbox", "^Result, as JSON").type('{"by": "hand"}')
    confirm.click()
    says(browser, rf"\b{State.SUCCEEDED}\b")
    found = job(stack, job_id)
    assert (found["state"], found["result"], found["note"]) == (State.SUCCEEDED, {"by": "hand"}, f"called {RUN}")
    assert "Resolved" in text_of_timeline(browser) and "by local" in text_of_timeline(browser)
    assert "can't do" in text_of_timeline(browser), "the error of the attempt stays"
    assert browser.complaints() == []


def test_a_running_job_shows_its_progress_and_is_cancelled(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("test.steps")
    visit(browser, stack, job_id, State.RUNNING)
    says(browser, '"page":2')
    says(browser, "Runs on worker-1")
    shown(browser, "button", "^Cancel$").click()
    shown(browser, "button", "^Cancel the job$").click()
    says(browser, rf"\b{State.CANCELLED}\b")
    found = job(stack, job_id)
    assert found["state"] == State.CANCELLED
    assert Reason.CANCEL_REQUESTED in [entry["reason"] for entry in found["history"]]
    says(browser, "Cancel requested by local")
    shown(browser, "button", "^Retry$")
    assert browser.complaints() == []


def test_what_others_do_appears_by_itself(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("noop", delay_s=600)
    visit(browser, stack, job_id, State.SCHEDULED)
    says(browser, "Delayed until")
    shown(browser, "button", "^Run now$")
    assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 200
    says(browser, rf"\b{State.SUCCEEDED}\b")
    assert not all_shown(browser, "button", "^Run now$")
    assert "Run at once" in text_of_timeline(browser)
    assert browser.complaints() == []


def test_erase_says_what_is_lost(stack: TestStack, browser: Browser) -> None:
    job_id = failed(stack, {"secret": RUN})
    visit(browser, stack, job_id, State.FAILED, "#tab=payload")
    assert RUN in shown(browser, "tabpanel").text
    shown(browser, "button", "^Erase$").click()
    says(browser, "Payload, result, progress, note, errors and attempts are removed permanently")
    shown(browser, "button", "^Erase them$").click()
    says(browser, "The payload was erased")
    assert RUN not in text_of(browser)
    assert job(stack, job_id)["payload"] is None
    assert browser.complaints() == []


def test_a_job_that_is_not_there_is_said_so(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, "01a20d05-adff-75dc-870e-4517b8566f53")
    says(browser, "There is no job 01a20d05-adff-75dc-870e-4517b8566f53")
    shown(browser, "link", "^All jobs$")
    # The browser itself writes that there was none.
    assert all("404" in complaint for complaint in browser.complaints())
