"""Overview, kinds and workers in a real browser: what they say, and what a person does there."""

import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest

from acked_common.model.lifecycle import State
from support.browser import Browser
from support.contract import instant
from support.nonce import nonce
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import TestStack, eventually

RUN = nonce()
KIND = "test.echo"
HOSTILE = f"<img src=x onerror=document.title='{RUN}'> {RUN}"
PAUSED_WITHIN = timedelta(seconds=2)


@pytest.fixture
def browser(browser: Browser) -> Iterator[Browser]:
    """The browser, which must not complain about any page of a test."""
    yield browser
    assert browser.complaints() == []


def visit(browser: Browser, stack: TestStack, path: str) -> None:
    browser.open(f"http://127.0.0.1:{stack.gateway_port}{path}")
    browser.wait_for_text("line", "Live", within_s=60)


def test_the_command_that_the_overview_shows_sends_a_job(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, "/")
    says(browser, r"MongoDB ok\s+RabbitMQ ok")
    says(browser, r"1 worker, \d+ of \d+ slots busy")
    (line,) = re.findall(r"^curl .+$", text_of(browser), re.MULTILINE)
    sent = subprocess.run(
        ["/bin/sh", "-c", f"{line} -sS -w ' %{{http_code}}'"], capture_output=True, text=True, timeout=30, check=True
    )
    assert sent.stdout.endswith(" 202"), sent.stdout
    (job_id,) = re.findall(r'"id":"([^"]+)"', sent.stdout)
    assert stack.finished(job_id)["state"] == State.SUCCEEDED
    assert shown(browser, "button", "^Copy$").text == "Copy"


def test_the_overview_says_what_failed_and_the_rail_counts_it(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("test.permanent", payload={"nonce": RUN})
    assert stack.finished(job_id)["state"] == State.FAILED
    visit(browser, stack, "/")
    says(browser, r"(One|\d+) problems?", within_s=60)
    says(browser, r"[\d,]+ failed jobs? needs? attention, in \d+ groups? of errors")
    says(browser, "test.permanent: card-declined\n")
    shown(browser, "link", r"^Attention \d+\+? groups? of errors$")
    # Every page has the count, also one that shows no failed job.
    visit(browser, stack, "/tokens")
    shown(browser, "link", r"^Attention \d+\+? groups? of errors$").click()
    browser.wait_for('location.pathname === "/attention"', within_s=60)


@pytest.mark.long
def test_the_verdict_counts_the_failures_of_the_last_minutes(stack: TestStack, browser: Browser) -> None:
    ids = [stack.process("test.permanent", payload={"nonce": RUN}, batch=f"share-{RUN}") for _ in range(25)]
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.FAILED
    # Whatever span the plots show: that of the verdict stays, and is named.
    visit(browser, stack, "/#window=8d")
    says(browser, r"test\.permanent: 100 % of its jobs that ended in the last 5 min have failed\.", within_s=60)

    def failed() -> int:
        recent = stack.call("GET", "/timeseries/kinds?window=5m").body
        assert recent["window"] == "5m"
        return {one["kind"]: int(one["failed"]) for one in recent["kinds"]}["test.permanent"]

    # Workers write their minutes some seconds after the jobs.
    eventually(lambda: failed() >= len(ids), within_s=60, what="all failures are counted")
    answer = stack.call("GET", "/timeseries?window=5m")
    assert (answer.status, answer.body["type"]) == (422, "/problems/invalid-field")


def test_the_window_is_chosen_and_stays_in_the_address(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, "/")
    assert shown(browser, "button", "^1 h$").call("return this.ariaPressed") == "true"
    shown(browser, "button", "^24 h$").click()
    browser.wait_for('location.hash === "#window=24h"', within_s=5)
    browser.refresh()
    browser.wait_for_text("line", "Live", within_s=60)
    assert shown(browser, "button", "^24 h$").call("return this.ariaPressed") == "true"
    # What is drawn stands in a table too.
    shown(browser, "DisclosureTriangle", "^Jobs per second as a table$").click()
    browser.wait_for('document.querySelectorAll("details[open] tbody tr").length === 144', within_s=60)


def test_a_kind_is_paused_and_resumed_on_its_page(stack: TestStack, browser: Browser) -> None:
    batch = f"page-pause-{RUN}"
    ids = [stack.process(KIND, payload={"nonce": RUN}, batch=batch) for _ in range(5)]
    visit(browser, stack, f"/kinds/{KIND}")
    says(browser, "Open: workers start its jobs")
    shown(browser, "button", f"^Pause {KIND}$").click()
    shown(browser, "textbox", "^Reason").type(HOSTILE)
    shown(browser, "button", "^Pause the kind$").click()
    says(browser, f"{KIND} is paused by local: {re.escape(HOSTILE)}")
    try:
        paused = stack.call("GET", f"/kinds/{KIND}").body["paused"]
        assert (paused["client"], paused["reason"]) == ("local", HOSTILE)
        ends_at = instant(paused["since"]) + PAUSED_WITHIN
        accepted_at = ends_at - PAUSED_WITHIN
        while accepted_at < ends_at:
            ids.append(stack.process(KIND, payload={"nonce": RUN}, batch=batch))
            accepted_at = instant(stack.status(ids[-1])["accepted_at"])
        ids += [stack.process(KIND, payload={"nonce": RUN}, batch=batch) for _ in range(10)]
        # Whatever was claimed before a later job of another kind is known by now.
        assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
        for job_id in ids:
            status = stack.status(job_id)
            assert status["state"] == State.QUEUED or instant(status["started_at"]) <= ends_at, status
        assert [stack.status(job_id)["state"] for job_id in ids[-10:]] == [State.QUEUED] * 10
        visit(browser, stack, "/")
        says(browser, f"{KIND} is paused by local: {re.escape(HOSTILE)}, .+ago")
        says(browser, f"local: Pause kind {KIND}")
        assert browser.run("return document.title") != RUN
        visit(browser, stack, "/kinds")
        shown(browser, "button", f"^Resume {KIND}$").click()
        shown(browser, "button", f"^Pause {KIND}$")
    finally:
        assert stack.call("POST", f"/kinds/{KIND}/resume").status == 200
    for job_id in ids:
        done = stack.finished(job_id)
        assert (done["state"], done["attempt"], done["run"]) == (State.SUCCEEDED, 1, 1), done
        assert done["result"]["payload"] == {"nonce": RUN}
    visit(browser, stack, f"/kinds/{KIND}")
    says(browser, r"Past pauses\s+.+ ago, for \d")


def test_one_job_is_sent_on_the_page_of_its_kind(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, f"/kinds/{KIND}")
    payload = shown(browser, "textbox", r"^Payload \(JSON\)$")
    payload.type("{")
    shown(browser, "button", "^Send job$").click()
    says(browser, "The payload is no JSON")
    payload.type(f'{{"nonce": "{RUN}", "big": 9007199254740991, "text": "{HOSTILE}"}}')
    shown(browser, "textbox", "^Batch$").type("not a batch")
    shown(browser, "button", "^Send job$").click()
    says(browser, "batch must be 1 to 64 of the characters")
    shown(browser, "textbox", "^Batch$").type(f"page-send-{RUN}")
    shown(browser, "button", "^Send job$").click()
    says(browser, "Accepted as job …")
    shown(browser, "link", "^job …").click()
    browser.wait_for('location.pathname.startsWith("/jobs/")', within_s=60)
    job_id = browser.run("return location.pathname").rpartition("/")[2]
    done = stack.finished(job_id)
    assert (done["kind"], done["batch"], done["state"]) == (KIND, f"page-send-{RUN}", State.SUCCEEDED)
    assert done["result"]["payload"] == {"nonce": RUN, "big": 9007199254740991, "text": HOSTILE}
    assert done["result"]["idempotency_key"]
    # The refused tries have stored nothing.
    assert stack.batch(f"page-send-{RUN}") == {State.SUCCEEDED: 1}
    browser.complaints()


def test_workers_show_what_runs_and_are_drained(stack: TestStack, browser: Browser) -> None:
    (before,) = stack.call("GET", "/workers").body["workers"]
    job_id = stack.process("test.hangs", payload={"nonce": RUN})
    visit(browser, stack, "/workers")
    says(browser, r"[1-9]\d* of \d+ slots busy")
    shown(browser, "link", f"^…{job_id[-8:]}$")
    shown(browser, "link", "^List the jobs that worker-1 runs$").click()
    browser.wait_for(
        'location.search === "?worker=worker-1" && document.querySelector("tbody a[data-open]")', within_s=60
    )
    assert job_id in browser.run("return [...document.querySelectorAll('tbody a[data-open]')].map((one) => one.title)")
    assert not all_shown(browser, "button", "^Choose all that match$")
    browser.back()
    browser.wait_for('location.pathname === "/workers"', within_s=60)
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    stack.finished(job_id)
    until(browser, lambda: not all_shown(browser, "link", f"^…{job_id[-8:]}$"), what=lambda: "the job is gone")
    shown(browser, "button", "^Drain worker-1$").click()
    shown(browser, "button", "^Drain the worker$").click()
    says(browser, "worker-1 drains")

    def is_replaced() -> bool:
        return [one["instance"] for one in stack.call("GET", "/workers").body["workers"]] != [before["instance"]]

    eventually(is_replaced, within_s=60, what="another worker is in its place")
    eventually(
        lambda: stack.stack.parts.readiness("worker-1") in ("ready", "degraded"), within_s=120, what="it takes jobs"
    )

    entry = stack.call("GET", "/audit?action=drain&page_size=1").body["entries"][0]
    assert entry["target"] == {"worker": "worker-1", "instance": before["instance"]}
    until(browser, lambda: before["instance"] not in text_of(browser), within_s=60, what=lambda: "the worker has left")


def test_a_kind_is_limited_on_its_page(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, f"/kinds/{KIND}")
    says(browser, "No limit on its running jobs")
    try:
        shown(browser, "button", f"^Set a limit of {KIND}$").click()
        shown(browser, "button", "^Set the limit$").click()
        says(browser, "Enter one of the two numbers")
        shown(browser, "spinbutton", "^Running at once").type("20")
        shown(browser, "spinbutton", "^Of each tenant").type("5")
        shown(browser, "textbox", "^Reason").type(HOSTILE)
        shown(browser, "button", "^Set the limit$").click()
        says(browser, f"{KIND} is limited to 20 running, 5 of each tenant by local: {re.escape(HOSTILE)}")
        limit = stack.call("GET", f"/kinds/{KIND}").body["limit"]
        assert (limit["running"], limit["per_tenant"], limit["reason"]) == (20, 5, HOSTILE)
        says(browser, "0 run, 0 wait for a place")
        visit(browser, stack, "/kinds")
        says(browser, "limit: 20 running, 5 of each tenant")
        visit(browser, stack, f"/kinds/{KIND}")
        shown(browser, "button", f"^Change limit of {KIND}$").click()
        shown(browser, "textbox", "^Reason")
        shown(browser, "button", "^Cancel$").click()
        shown(browser, "button", f"^Remove limit of {KIND}$").click()
        says(browser, "No limit on its running jobs")
        assert stack.call("GET", f"/kinds/{KIND}").body["limit"] is None
        visit(browser, stack, "/audit")
        says(browser, f"Remove the limit of kind {KIND}, 20 running, 5 of each tenant")
        says(browser, f"Limit kind {KIND} to 20 running, 5 of each tenant")
    finally:
        assert stack.call("POST", f"/kinds/{KIND}/unlimit").status == 200
