"""The page of the load test keeps its figures, says in its title how far it is, and moves nothing while it runs."""

from urllib.parse import parse_qs, urlsplit

from support.browser import Browser
from support.contract import answered
from support.nonce import nonce
from support.pages import url
from support.roles import shown
from support.stacks import TestStack

FIGURES = (
    "return [...document.querySelectorAll('[data-calls], #duration, #p50, #p95, #p99, #max')]"
    ".map((one) => one.textContent)"
)
PLACES = (
    "return [...document.querySelectorAll('h2, h3, #states tr, #ended-bar, .histogram, .plot')]"
    ".map((one) => Math.round(one.getBoundingClientRect().top + scrollY))"
)


def batch_of(browser: Browser) -> str:
    return parse_qs(urlsplit(str(browser.run("return location.href"))).query)["batch"][0]


def runs(browser: Browser, count: int) -> None:
    browser.wait_for_text("doing", f"All {count:,} jobs have ended", within_s=40)


def test_figures_stay_with_the_batch_for_reload_and_link(stack: TestStack, browser: Browser) -> None:
    before = answered(stack)
    browser.open(url(stack, "/load-test?count=50&kind=noop"))
    runs(browser, 50)
    figures = browser.run(FIGURES)
    assert figures[:3] == ["50", "50", "0"]
    assert all(text.endswith("ms") for text in figures[3:])
    bars = browser.run("return document.querySelectorAll('.histogram rect').length")
    assert bars > 1
    batch = batch_of(browser)
    kept = stack.call("GET", f"/batches/{batch}").body["load_test"]
    assert (kept["requested"], sum(kept["latency_histogram"]["counts"])) == (50, 50)
    browser.refresh()
    runs(browser, 50)
    assert browser.run(FIGURES) == figures
    samples = browser.run("return history.state.samples.length")
    assert samples > 0
    # Who gets the link sees the same figures.
    browser.open("about:blank")
    browser.open(url(stack, f"/load-test?batch={batch}"))
    runs(browser, 50)
    assert browser.run(FIGURES) == figures
    assert browser.run("return document.querySelectorAll('.histogram rect').length") == bars
    assert answered(stack) == before + 50
    assert browser.complaints() == []


def test_batch_of_a_load_test_has_the_figures_of_its_response(stack: TestStack) -> None:
    for method, batch in (("POST", f"figures-{nonce()}"), ("GET", f"figures-{nonce()}")):
        before = answered(stack)
        made = stack.call(method, f"/load-test?count=5&kind=noop&batch={batch}").body
        assert (made["batch"], made["persisted"]) == (batch, 5)
        assert answered(stack) == before + 5
        assert stack.call("GET", f"/batches/{batch}").body["load_test"] == made
    submitted = stack.process("noop", batch=f"figures-{nonce()}")
    assert "load_test" not in stack.call("GET", f"/batches/{stack.finished(submitted)['batch']}").body


def test_title_tells_the_progress_and_nothing_moves(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/load-test"))
    browser.run(
        "window.titles = []; new MutationObserver(() => titles.push(document.title))"
        ".observe(document.querySelector('title'), {childList: true, characterData: true, subtree: true});"
    )
    browser.wait_for("document.getElementById('doing')?.textContent.length > 0", within_s=60)
    if browser.run("return document.getElementById('doing').textContent").startswith("Ready"):
        browser.run("document.getElementById('form').requestSubmit()")
    shown(browser, "heading", "^Jobs$")
    places = browser.run(PLACES)
    browser.wait_for("document.getElementById('ended-bar').value > 0", within_s=60)
    assert browser.run(PLACES) == places
    browser.wait_for_text("doing", "jobs have ended", within_s=40)
    assert browser.run(PLACES) == places
    titles = browser.run("return titles")
    assert any("/1,000 · Load test" in title for title in titles), titles
    assert titles[-1] == "done · Load test · Acked"
    rows = browser.run("return document.querySelectorAll('.plotted details tbody tr').length")
    assert rows > 0
    assert shown(browser, "link", "^All of its jobs$").call("return this.search") == f"?batch={batch_of(browser)}"
    assert browser.complaints() == []
