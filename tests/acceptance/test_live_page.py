"""The page of the load test in a real browser: it follows its batch live, whatever becomes of the gateway."""

import re
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.sync.client import connect

from acked_common.model.lifecycle import State
from support.browser import Browser
from support.contract import load_test
from support.feed import FEED_CLIENTS
from support.pages import url
from support.stacks import TestStack, eventually


def moves(browser: Browser, *, within_s: float = 60.0) -> int:
    """How many jobs have ended when some have and some have not."""
    bar = 'document.getElementById("ended-bar")'
    return int(browser.wait_for(f"{bar}?.value > 0 && {bar}.value < {bar}.max && {bar}.value", within_s=within_s))


def persisted(browser: Browser, count: int, *, within_s: float = 60.0) -> None:
    """Waits until the page has the figures of the calls, and all of them were kept."""
    figure = "document.querySelector('[data-calls=persisted]')?.textContent"
    assert browser.wait_for(figure, within_s=within_s) == f"{count:,}"


def is_live(browser: Browser, *, within_s: float = 60.0) -> None:
    browser.wait_for_text("feed-line", "Live.", within_s=within_s)


def shown_counts(browser: Browser) -> dict[str, int]:
    """The states that the page shows with at least one job."""
    rows = browser.run(
        'return [...document.querySelectorAll("#states tr")]'
        '.map((row) => [row.querySelector("th").textContent, row.lastChild.textContent])'
    )
    return {state: number for state, text in rows if (number := int(text.replace(",", "")))}


def ends(browser: Browser, stack: TestStack, count: int, *, within_s: float = 40.0) -> str:
    """The batch that the page shows as ended, as the gateway counts it."""
    said = browser.wait_for_text("doing", f"All {count:,} jobs have ended", within_s=within_s)
    batch = parse_qs(urlsplit(browser.run("return location.href")).query)["batch"][0]
    counted = stack.call("GET", f"/batches/{batch}").body
    assert shown_counts(browser) == counted["states"] == {State.SUCCEEDED: count}
    assert f"{counted['duration_s']:.1f} s" in said
    assert browser.run('return document.getElementById("ended").textContent') == (
        f"{count:,} of {count:,} jobs have ended"
    )
    assert browser.run('return document.getElementById("feed-line").textContent') == ""
    assert browser.run('return document.getElementById("problem").hidden')
    return batch


def was_never_reloaded(browser: Browser) -> bool:
    """Whether the page is still the one that `browser` has marked."""
    return bool(browser.run("return window.mark === 1"))


def feed_clients(stack: TestStack) -> float:
    return stack.metric("acked_feed_clients")


def asked_for_batches(stack: TestStack) -> float:
    return stack.metric("acked_http_requests_total", '{route="/batches",status="200"}')


def test_a_load_test_is_followed_live_from_its_first_job(stack: TestStack, browser: Browser) -> None:
    asked_before = asked_for_batches(stack)
    browser.open(url(stack, "/load-test?count=300&kind=demo"))
    is_live(browser)
    persisted(browser, 300)
    moves(browser)
    batch = ends(browser, stack, 300)
    assert re.fullmatch(r"load-\d{8}T\d{6}Z-[0-9a-f]{6}", batch)
    # One by the page, at the end; one by this test.
    assert asked_for_batches(stack) - asked_before == 2
    eventually(lambda: feed_clients(stack) == 0, within_s=10, what="the page has left the feed")
    assert browser.complaints() == []


def test_it_reconnects_when_the_gateway_was_killed(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/load-test?count=1000&kind=demo"))
    browser.run("window.mark = 1")
    persisted(browser, 1000)
    moves(browser)
    stack.stack.parts.kill("gateway-1")
    browser.wait_for_text("feed-line", "reconnecting", within_s=60)
    ends(browser, stack, 1000)
    assert was_never_reloaded(browser)
    for complaint in browser.complaints():
        # Those of the attempts to connect, which the browser itself writes.
        assert "/ws/feed" in complaint or "/healthz" in complaint, complaint
        assert "failed" in complaint.lower(), complaint


def test_it_stays_live_through_a_rolling_restart(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/load-test?count=1000&kind=demo"))
    browser.run("window.mark = 1")
    persisted(browser, 1000)
    moves(browser)
    stack.stack.restart(["gateway"])
    ends(browser, stack, 1000)
    assert was_never_reloaded(browser)


def test_calls_that_were_kept_are_followed_when_the_gateway_dies_while_it_makes_them(
    stack: TestStack, browser: Browser
) -> None:
    browser.open(url(stack, "/load-test?count=20000&kind=noop"))
    browser.wait_for('document.getElementById("ended-bar")?.max > 500', within_s=60)
    stack.stack.parts.kill("gateway-1")
    browser.wait_for_text("doing", "Following the persisted jobs", within_s=60)
    said = browser.wait_for_text("doing", "jobs have ended", within_s=60)
    shown = shown_counts(browser)
    assert f"All {shown[State.SUCCEEDED]:,} jobs" in said
    batch = parse_qs(urlsplit(browser.run("return location.href")).query)["batch"][0]
    assert stack.batch(batch) == shown
    browser.complaints()


@pytest.mark.long
def test_more_than_a_thousand_jobs_end_right(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/load-test?count=1500&kind=demo"))
    moves(browser)
    ends(browser, stack, 1500)
    assert browser.complaints() == []


@pytest.mark.long
def test_a_large_batch_is_followed_by_its_counts(stack: TestStack, browser: Browser) -> None:
    batch = load_test(stack, "?count=1500&kind=demo").batch
    browser.open(url(stack, f"/load-test?batch={batch}"))
    is_live(browser)
    moves(browser)
    assert ends(browser, stack, 1500) == batch
    browser.open(url(stack, f"/load-test?batch={batch}"))
    assert ends(browser, stack, 1500) == batch
    assert browser.complaints() == []


def test_stop_leaves_the_feed_and_the_jobs_go_on(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/load-test?count=300&kind=demo"))
    moves(browser)
    browser.run('document.getElementById("stop").click()')
    browser.wait_for_text("doing", "Stopped.", within_s=5)
    eventually(lambda: feed_clients(stack) == 0, within_s=10, what="the page has left the feed")
    assert browser.run('return document.getElementById("feed-line").textContent') == ""
    browser.run('document.getElementById("form").requestSubmit()')
    is_live(browser)
    ends(browser, stack, 300)
    assert browser.complaints() == []


@pytest.mark.long
def test_where_the_feed_lets_nobody_in_it_asks_again_and_again_and_says_so(stack: TestStack, browser: Browser) -> None:
    eventually(lambda: feed_clients(stack) == 0, within_s=10, what="earlier pages have left the feed")
    with ExitStack() as others:
        for _ in range(FEED_CLIENTS):
            others.enter_context(connect(f"ws://127.0.0.1:{stack.gateway_port}/ws/feed", proxy=None))
        browser.open(url(stack, "/load-test?count=2000&kind=demo"))
        browser.wait_for_text("feed-line", "polling twice a second", within_s=60)
        persisted(browser, 2000)
        moves(browser)
        assert feed_clients(stack) == FEED_CLIENTS
    is_live(browser)
    ends(browser, stack, 2000)
    # The browser itself writes about every refusal, and about a batch that was not there yet.
    for complaint in browser.complaints():
        assert "/ws/feed" in complaint or ("/batches/" in complaint and "404" in complaint), complaint


def test_a_line_that_says_nothing_is_given_up(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/"))
    told: list[Any] = browser.run(
        """
        const { followScope } = await import("/pages/feed.js");
        const ended = new AbortController();
        const told = [];
        // The gateway's next sign of life comes after 15 s.
        const tell = (line) => { told.push(line); if (told.filter((one) => one === "live").length > 1) ended.abort(); };
        const options = { take() {}, tell, answers: async () => true, signal: ended.signal, quietAtMostMs: 300 };
        await followScope({ batch: "nothing-here" }, options).catch(() => {});
        return told;
        """
    )
    assert told == ["connecting", "live", "lost", "live"]
    assert browser.complaints() == []


def test_a_page_may_open_no_websocket_to_another_server(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/"))
    refused = browser.run(
        """
        const refusal = new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => resolve(effectiveDirective));
        });
        new WebSocket(arguments[0]);
        return refusal;
        """,
        f"ws://127.0.0.1:{stack.intake_port}/ws/feed",
    )
    assert refused == "connect-src"
