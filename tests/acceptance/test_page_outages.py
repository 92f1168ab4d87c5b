"""The overview while a server behind the gateway is away: which part, since when, what that means and what to do.

`ACKED_TEST_NONCE` stands in the payloads.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from acked_common.model.lifecycle import State
from support import axe
from support.browser import Browser
from support.nonce import nonce
from support.roles import says, shown, text_of, until
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "off"}
OWN_SERVERS = True
"""They stop."""
NONCE = nonce()
NOTICED_WITHIN_S = 30.0
RECOVERS_WITHIN_S = 60.0
"""Of the server itself; the page asks again every 10 s at least."""


@contextmanager
def away(stack: TestStack, part: str) -> Iterator[None]:
    """Stop a server, and start it again afterwards."""
    stack.stack.parts.stop(part)
    try:
        yield
    finally:
        stack.stack.parts.start(part)


def visit(browser: Browser, stack: TestStack, path: str = "/") -> None:
    browser.open(f"http://127.0.0.1:{stack.gateway_port}{path}")


def is_well_again(browser: Browser, stack: TestStack, part: str) -> None:
    """Wait until the page shows, untouched, what it showed before; a job that is sent then ends."""
    browser.wait_for_text("line", "Live", within_s=RECOVERS_WITHIN_S)
    says(browser, f"{part} ok", within_s=RECOVERS_WITHIN_S)
    until(
        browser,
        lambda: not re.search(f"{part} not ok|{part} .*since", text_of(browser)),
        within_s=RECOVERS_WITHIN_S,
        what=lambda: f"{part} is no finding any more",
    )
    assert browser.run("return window.isTheSamePage")
    # Intake looks for itself, a second later.
    eventually(
        lambda: stack.call("GET", "/readyz", to="intake").body["status"] == "ready",
        within_s=RECOVERS_WITHIN_S,
        what="intake is ready",
    )
    job_id = stack.process("noop", payload={"nonce": NONCE})
    assert stack.finished(job_id, wait_s=60.0)["state"] == State.SUCCEEDED


def only_refusals(browser: Browser) -> None:
    """The browser itself writes of each 503 and each lost connection; nothing else may complain."""
    for complaint in browser.complaints():
        assert re.search(r"status of 503|status of 429|/ws/feed|ERR_", complaint), complaint


@pytest.mark.parametrize(
    ("server", "name", "effect", "look"),
    [
        ("mongod", "MongoDB", "no job starts or ends", "./just logs mongod"),
        pytest.param(
            *("rabbitmq", "RabbitMQ", "Requests are accepted as before", "./just logs rabbitmq"), marks=pytest.mark.long
        ),
    ],
)
def test_overview_names_the_part_that_is_away(
    stack: TestStack, browser: Browser, server: str, name: str, effect: str, look: str
) -> None:
    visit(browser, stack)
    says(browser, f"{name} ok")
    shown(browser, "heading", "^Kinds$")
    browser.run("window.isTheSamePage = true")
    with away(stack, server):
        says(browser, rf"{name} .+, since .+(?:ago|just now)\.", within_s=NOTICED_WITHIN_S)
        says(browser, "(?:One problem|[2-9] problems)")
        says(browser, f"{name} not ok")
        said = text_of(browser)
        for words in (effect, "Look: ./just status", look):
            assert words in said, said
        # The instant is the gateway's own, and the absolute one is at hand.
        since = stack.call("GET", "/readyz").body["since"][name.lower()]
        shown_since = browser.run("return document.querySelector('.findings time').dateTime")
        assert shown_since == since
        # What was known stays on the page, and is said to be old where nothing newer comes.
        shown(browser, "heading", "^Kinds$")
        if server == "mongod":
            browser.wait_for_text("line", "The database is unavailable, figures from", within_s=NOTICED_WITHIN_S)
        assert axe.faults(browser) == []
    is_well_again(browser, stack, name)
    only_refusals(browser)


@pytest.mark.long
def test_overview_that_opens_without_the_database_says_so(stack: TestStack, browser: Browser) -> None:
    with away(stack, "mongod"):
        until(
            browser,
            lambda: stack.call("GET", "/readyz").status == 503,
            within_s=NOTICED_WITHIN_S,
            what=lambda: "the gateway has noticed",
        )
        visit(browser, stack)
        browser.run("window.isTheSamePage = true")
        says(browser, r"MongoDB .+, since .+(?:ago|just now)\.", within_s=NOTICED_WITHIN_S)
        says(browser, "One problem")
        browser.wait_for_text("line", "The database is unavailable", within_s=NOTICED_WITHIN_S)
    is_well_again(browser, stack, "MongoDB")
    shown(browser, "heading", "^Kinds$")
    only_refusals(browser)
