"""The list of jobs and the batches in a real browser: filters by keyboard, rows that stay while their jobs move."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

from selenium.webdriver import Keys

from acked_common.model.lifecycle import State
from support.browser import Browser
from support.nonce import nonce
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import TestStack, eventually
from support.steady import CLIENTS, frames, steady_jobs

RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>"
FAILS = {"kind": "test.spills", "max_attempts": 1}
ROWS = 150
EVENTS_PER_S = 200
"""Of shown jobs."""
JOBS_PER_S = 20
"""That come meanwhile."""
LOAD_S = 6.0
LONGEST_GAP_MS = 1500
"""Between two frames of the screen, on a machine that runs all services too. A page that is stuck has longer gaps."""


def visit(browser: Browser, stack: TestStack, path: str) -> None:
    browser.open(f"http://127.0.0.1:{stack.gateway_port}{path}")


def query(browser: Browser) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(browser.run("return location.href"))).query)


def path(browser: Browser) -> str:
    return str(browser.run("return location.pathname"))


def rows(browser: Browser) -> list[str]:
    """The text of each row, in their order."""
    return [
        str(text) for text in browser.run("return [...document.querySelectorAll('tbody tr')].map((r) => r.innerText)")
    ]


def test_filters_are_the_address_and_the_keyboard_reaches_them(stack: TestStack, browser: Browser) -> None:
    batch, tag = f"filters-{RUN}", f"tag-{RUN}"
    plain = stack.process("noop", batch=batch)
    tagged = stack.process("noop", batch=batch, tags=[tag])
    for job_id in (plain, tagged):
        stack.finished(job_id)
    visit(browser, stack, "/jobs")
    shown(browser, "searchbox", "Find jobs")
    browser.press("/")
    browser.press(batch, Keys.ENTER)
    until(browser, lambda: query(browser) == {"batch": [batch]}, what=lambda: str(query(browser)))
    until(browser, lambda: len(rows(browser)) == 2, what=lambda: "two rows")
    assert [tagged[-8:] in rows(browser)[0], plain[-8:] in rows(browser)[1]] == [True, True], "newest first"
    browser.press("/")
    browser.press(f"tag:{tag}", Keys.ENTER)
    until(browser, lambda: query(browser) == {"batch": [batch], "tag": [tag]}, what=lambda: str(query(browser)))
    until(browser, lambda: len(rows(browser)) == 1, what=lambda: "one row")
    browser.press("j")
    browser.press("x")
    says(browser, "1 job chosen")
    browser.press(Keys.ENTER)
    until(browser, lambda: path(browser) == f"/jobs/{tagged}", what=lambda: path(browser))
    assert browser.complaints() == []


def test_a_pasted_id_opens_its_job(stack: TestStack, browser: Browser) -> None:
    job_id = stack.process("noop")
    visit(browser, stack, "/jobs")
    shown(browser, "searchbox", "Find jobs").type(job_id)
    until(browser, lambda: path(browser) == f"/jobs/{job_id}", what=lambda: path(browser))


def test_a_mistyped_parameter_is_named_and_removed_by_a_link(stack: TestStack, browser: Browser) -> None:
    visit(browser, stack, f"/jobs?satte=failed&batch=none-{RUN}")
    says(browser, "satte")
    shown(browser, "link", "Remove satte").click()
    until(browser, lambda: query(browser) == {"batch": [f"none-{RUN}"]}, what=lambda: str(query(browser)))
    says(browser, "No job fits these filters")
    shown(browser, "link", "Clear filters").click()
    until(browser, lambda: query(browser) == {}, what=lambda: str(query(browser)))


def test_texts_of_jobs_are_texts(stack: TestStack, browser: Browser) -> None:
    batch = f"hostile-{RUN}"
    job_id = stack.process(**FAILS, batch=batch, tags=[HOSTILE[:64]], payload={"text": HOSTILE})
    assert stack.finished(job_id)["state"] == State.FAILED
    visit(browser, stack, f"/jobs?batch={batch}")
    link = shown(browser, "link", r"^ValueError: can't do .*<img src=x")
    assert RUN in link.name
    visit(browser, stack, "/jobs?kind=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    says(browser, "kind: <img src=x onerror=alert\\(1\\)>")
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert RUN not in str(browser.run("return document.title"))
    assert browser.complaints() == []


def test_jobs_that_come_are_announced_and_nothing_moves(stack: TestStack, browser: Browser) -> None:
    batch = f"announced-{RUN}"
    stack.finished(stack.process("noop", batch=batch))
    visit(browser, stack, f"/jobs?batch={batch}")
    until(browser, lambda: len(rows(browser)) == 1, what=lambda: "one row")
    place = browser.run("return document.querySelector('tbody tr').getBoundingClientRect().top")
    for _ in range(2):
        stack.process("noop", batch=batch)
    button = shown(browser, "button", "^2 new jobs, show$")
    assert browser.run("return document.querySelector('tbody tr').getBoundingClientRect().top") == place
    assert len(rows(browser)) == 1
    button.click()
    until(browser, lambda: len(rows(browser)) == 3, what=lambda: "three rows")
    assert browser.complaints() == []


def test_a_list_follows_its_jobs_and_stays_usable_at_200_events_a_second(stack: TestStack, browser: Browser) -> None:
    batch, others = f"live-{RUN}", f"others-{RUN}"
    with ThreadPoolExecutor(CLIENTS) as pool:
        ids = list(pool.map(lambda n: stack.process("noop", batch=batch, delay_s=600 + n), range(ROWS)))
    visit(browser, stack, "/jobs?page_size=200")
    until(browser, lambda: len(rows(browser)) >= ROWS, what=lambda: "the rows")
    says(browser, "Live")
    with steady_jobs(stack, batch=others, jobs_per_s=JOBS_PER_S):
        # Each of the shown jobs is queued, starts and ends: so many transitions a second reach the page.
        wanted = {"action": "run_now", "filter": {"batch": batch}, "rate_per_s": EVENTS_PER_S / 3}
        assert stack.call("POST", "/bulk-actions", wanted).status == 202
        measured = frames(browser, "tbody tr", for_s=LOAD_S)
        until(
            browser,
            lambda: sum(State.SUCCEEDED in row for row in rows(browser)[:ROWS]) == ROWS,
            what=lambda: "every row shows that its job has succeeded",
        )
        shown(browser, "button", r"^\d+\+? new jobs, show$")
    assert measured.moved == 0, "the first row stayed where it was"
    assert measured.longest_ms < LONGEST_GAP_MS, measured
    assert measured.count > LOAD_S * 5, measured
    assert stack.batch(batch) == {State.SUCCEEDED: len(ids)}
    assert len(rows(browser)) <= 200
    eventually(lambda: set(stack.batch(others)) == {State.SUCCEEDED}, within_s=60, what="the other jobs have ended")
    assert browser.complaints() == []


def test_chosen_jobs_are_retried_with_a_preview(stack: TestStack, browser: Browser) -> None:
    batch = f"chosen-{RUN}"
    ids = [stack.process(**FAILS, batch=batch, payload={"n": n}) for n in range(3)]
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.FAILED
    visit(browser, stack, f"/jobs?batch={batch}&state={State.FAILED}")
    shown(browser, "button", "^Choose all that match$").click()
    says(browser, "All that match: 3 jobs")
    shown(browser, "button", "^Retry$").click()
    shown(browser, "button", "^Retry 3 jobs$").click()
    eventually(
        lambda: [stack.status(job_id)["run"] for job_id in ids] == [2, 2, 2], within_s=60, what="each job runs again"
    )
    assert browser.complaints() == []


def test_batches_are_listed_and_one_is_followed(stack: TestStack, browser: Browser) -> None:
    batch = f"followed-{RUN}"
    failed = stack.process(**FAILS, batch=batch, payload={"text": HOSTILE})
    stack.finished(failed)
    later = [stack.process("noop", batch=batch, delay_s=600) for _ in range(2)]
    visit(browser, stack, "/batches")
    shown(browser, "link", f"^{batch}$").click()
    says(browser, "1 of 3 jobs have ended")
    # What is drawn stands in a table too: the step of the failure, and an empty one on each side of it.
    shown(browser, "DisclosureTriangle", "^Ended jobs per second as a table$").click()
    until(
        browser,
        lambda: browser.run("return document.querySelectorAll('.plotted details[open] tbody tr').length") == 3,
        what=lambda: "the ends over time",
    )
    says(browser, "ValueError: can't do .*<img src=x")
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    for job_id in later:
        assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 200
    says(browser, "All 3 jobs have ended")
    assert stack.batch(batch) == {State.SUCCEEDED: 2, State.FAILED: 1}
    shown(browser, "button", "^Retry the failed jobs$").click()
    shown(browser, "button", "^Retry 1 job$").click()
    eventually(lambda: stack.status(failed)["run"] == 2, within_s=60, what="the failed job runs again")
    assert browser.complaints() == []


def test_a_batch_that_is_not_there_yet_is_shown_as_soon_as_it_is(stack: TestStack, browser: Browser) -> None:
    batch = f"yet-{RUN}"
    visit(browser, stack, f"/batches/{batch}")
    says(browser, "No job has this batch name")
    stack.process("noop", batch=batch)
    says(browser, "All 1 job has ended")
    assert "No job has this batch name" not in text_of(browser)
    # It is there where a page has seen the job live, and of no use any more.
    assert all(one.call("return this.disabled") for one in all_shown(browser, "button", "^Cancel the rest$"))
    # The browser itself writes that there was no batch at first.
    assert all("404" in complaint and batch in complaint for complaint in browser.complaints())
