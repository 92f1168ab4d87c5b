"""A night with the dashboard, from the page alone: find what fails, read why, pause, mend, retry, resume, audit."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from acked_common.model.lifecycle import State
from support.browser import Browser
from support.nonce import nonce
from support.roles import all_shown, says, shown
from support.stacks import StartStack, TestStack, eventually
from support.story import BREAKS, BROKEN, KINDS, WORKS, deploy, write_handlers

JOBS = 2000
HELD_S = 2.0
"""Within this time after a pause no job of the kind starts any more."""
PEOPLE_WAIT_S = 90.0
"""For counts that the services take every few seconds, on a busy machine."""


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def stack(handlers: Path, start_stack: StartStack) -> TestStack:
    """A stack of its own: its handlers change, and its workers are replaced."""
    write_handlers(handlers, WORKS)
    return start_stack({"ACKED_HANDLERS_DIR": str(handlers)})


def submit(stack: TestStack, run: str) -> dict[str, list[str]]:
    """Submit the jobs of a night, and return their ids by kind."""
    ids: dict[str, list[str]] = {kind: [] for kind in KINDS}

    def one(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        payload = {"customer": f"{run}-{number}"}
        ids[kind].append(stack.process(kind, payload=payload, batch=f"night-{run}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(JOBS)))
    return ids


def states(stack: TestStack, run: str) -> dict[str, int]:
    return stack.batch(f"night-{run}")


def go_to(browser: Browser, place: str) -> None:
    """Go to a page by the navigation; on a phone most places are behind More."""
    if not all_shown(browser, "link", rf"^{place}\b"):
        shown(browser, "button", "^More").click()
    shown(browser, "link", rf"^{place}\b").click()
    shown(browser, "heading", rf"^{place}\b")


@pytest.mark.parametrize("width", [1280, pytest.param(390, marks=pytest.mark.long)])
def test_somebody_who_is_woken_mends_it_from_the_page(
    width: int, stack: TestStack, handlers: Path, browser: Browser
) -> None:
    run = nonce()
    browser.show_as(width=width, height=844)
    deploy(stack, handlers, BROKEN)
    ids = submit(stack, run)
    failing = len(ids[BREAKS])
    eventually(
        lambda: states(stack, run) == {State.FAILED: failing, State.SUCCEEDED: JOBS - failing},
        within_s=PEOPLE_WAIT_S,
        what="all jobs have ended",
    )

    # Is all well, and what fails?
    browser.open(f"http://127.0.0.1:{stack.gateway_port}/")
    says(browser, rf"(?s){failing} .*failed", within_s=PEOPLE_WAIT_S)
    go_to(browser, "Attention")
    says(browser, rf"{failing} failed", within_s=PEOPLE_WAIT_S)
    assert len(all_shown(browser, "button", r"^Retry [\d,]+$")) == 1, "one group"

    # Why? The traceback has the line of the handler.
    shown(browser, "DisclosureTriangle", "^Examples and traceback$").click()
    says(browser, re.escape(BROKEN))
    says(browser, "KeyError")

    # Stop the kind until the code is mended.
    shown(browser, "link", f"^{BREAKS}$").click()
    shown(browser, "button", f"^Pause {BREAKS}$").click()
    shown(browser, "textbox", "^Reason").type(f"the customers of {run} are unknown")
    shown(browser, "button", "^Pause the kind$").click()
    says(browser, rf"(?i)paused(?s:.*)the customers of {run} are unknown")
    deploy(stack, handlers, WORKS)

    # Retry exactly the group: the preview names it and its size.
    go_to(browser, "Attention")
    shown(browser, "button", rf"^Retry {failing}$").click()
    shown(browser, "button", rf"^Retry {failing} jobs$")
    assert "KeyError" in shown(browser, "dialog", "Retry").text
    shown(browser, "textbox", "^Reason").type(f"mended {run}")
    browser.press(Keys.ENTER)
    says(browser, rf"Retry of {failing} jobs")
    waiting = {State.QUEUED: failing, State.SUCCEEDED: JOBS - failing}
    eventually(lambda: states(stack, run) == waiting, within_s=PEOPLE_WAIT_S, what="the whole group waits again")
    says(browser, "no failed job waits", within_s=PEOPLE_WAIT_S)
    assert states(stack, run) == waiting, "none starts while its kind is paused"

    # Let the kind go on, and see the end.
    go_to(browser, "Kinds")
    shown(browser, "button", f"^Resume {BREAKS}$").click()
    eventually(
        lambda: states(stack, run) == {State.SUCCEEDED: JOBS}, within_s=PEOPLE_WAIT_S, what="the retried jobs succeed"
    )
    go_to(browser, "Overview")
    says(browser, "No failed job waits", within_s=PEOPLE_WAIT_S)
    says(browser, r"(?s)Queued\s+0\s.*Running\s+0\s", within_s=PEOPLE_WAIT_S)

    # Who did what?
    go_to(browser, "Audit")
    for did in (
        f"Pause kind {BREAKS}",
        f"mended {run}",
        f"Resume kind {BREAKS}",
        f"the customers of {run} are unknown",
    ):
        says(browser, re.escape(did))

    # Exactly those ran again, each once.
    for job_id in (*ids[BREAKS][:5], *ids[BREAKS][-5:]):
        assert stack.status(job_id)["run"] == 2
    for kind in KINDS:
        if kind != BREAKS:
            assert stack.status(ids[kind][0])["run"] == 1
    assert browser.complaints() == []
