"""Every page over very many ended jobs: it is ready within its bound, shows a bounded number of rows, and pages on.

`--ended-jobs` says how many have succeeded: `./just test full` has a million. Each page prints its time.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pymongo import MongoClient

from acked_common.model.batch_ends import MOST_POINTS
from acked_common.model.lifecycle import State
from acked_common.store.list_limits import BATCH_ENDS_READ
from acked_common.store.mongo.documents import Document
from deploy.native.launch import database_of, owner_urls
from support.browser import Browser
from support.nonce import nonce
from support.roles import says, shown, until
from support.seeding import Seed, error_of, seed
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

ENDED_JOBS = 20_000
ENVIRON = {"ACKED_ACCESS": "off"}
NONCE = nonce()
GROUPS = 40
FAILED_OF = 10
"""One failed job for so many that succeeded."""
HUGE = f"huge-{NONCE}"
"""A batch with each twentieth job."""
HUGE_OF = 20
READY_WITHIN_S = 5.0
"""On two cores that all services, MongoDB and the browser share."""
MOST_ROWS = 200
COUNTED_WITHIN_S = 60.0
PAGE = 50


def _succeeded(number: int) -> Document:
    if number % 2:
        return {"kind": "noop", "batch": f"b{number % 1000}"}
    of_batch = {} if number % HUGE_OF else {"batch": HUGE}
    return {**of_batch, "tags": [f"t{number % 50}"]}


def _failed(number: int) -> Document:
    group = f"1{number % GROUPS:016x}"
    error = {**error_of(group, number), "message": f"{NONCE} is lost for the {number}. time"}
    return {"error": error, "kind": "flaky", "batch": f"b{number % 100}", "tags": ["failed"]}


@pytest.fixture(scope="module")
def many(stack: TestStack, ended_jobs: int) -> Iterator[int]:
    """Seed the store of the stack and return the number of failed jobs."""
    failed, end, began = ended_jobs // FAILED_OF, datetime.now(UTC), time.monotonic()
    layout, environ = stack.stack.layout, stack.stack.service_environ
    with MongoClient[Document](owner_urls(layout, environ)["mongo"], tz_aware=True) as client:
        seed(
            client[database_of(environ)],
            Seed(ended_jobs, State.SUCCEEDED, end, timedelta(milliseconds=600), _succeeded),
            Seed(failed, State.FAILED, end, timedelta(seconds=6), _failed, first_number=ended_jobs),
        )
    print(f"\n{ended_jobs:,} succeeded and {failed:,} failed jobs in {time.monotonic() - began:.1f} s")  # noqa: T201
    eventually(
        lambda: stack.call("GET", "/attention").body["total"]["jobs"] == failed,
        within_s=COUNTED_WITHIN_S,
        what="the census has counted all failed jobs",
    )
    yield failed


_READY = """
const done = arguments[arguments.length - 1];
const [ready] = arguments;
const look = () => document.querySelector("main")?.innerText.trim() && !document.querySelector(".skeleton")
  && document.querySelector(ready) && document.querySelector("#line")?.dataset.line !== "begin";
const finish = () => requestAnimationFrame(() => done(performance.now() / 1000));
if (look()) finish();
else new MutationObserver((_, observer) => { if (look()) { observer.disconnect(); finish(); } })
  .observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
"""


def open_ready(browser: Browser, stack: TestStack, path: str, ready: str) -> float:
    """Open a page as by a link and return the seconds from the click until it shows its content."""
    browser.open(f"http://127.0.0.1:{stack.gateway_port}/pages/icon.svg")
    browser.run("location.assign(arguments[0])", path)
    until(browser, lambda: browser.run("return location.pathname !== '/pages/icon.svg'"), what=lambda: path)
    took_s: float = browser.run_async(_READY, ready, within_s=60)
    assert browser.run("return document.querySelector('#line').dataset.line") != "lost", path
    return took_s


def test_pages_over_many_ended_jobs_are_ready_within_their_bound(
    stack: TestStack, browser: Browser, many: int, ended_jobs: int
) -> None:
    group = f"1{7:016x}"
    newest = stack.call("GET", "/jobs?page_size=1").body["jobs"][0]["id"]
    failed = stack.call("GET", "/jobs?state=failed&page_size=1").body["jobs"][0]["id"]
    pages = {
        "/": ".plotted",
        "/attention": "article.group",
        "/attention?kind=flaky": "article.group",
        "/jobs": "tbody tr",
        "/jobs?page_size=1000": "tbody tr",
        "/jobs?state=failed": "tbody tr",
        "/jobs?state=running": ".empty, tbody",
        "/jobs?kind=noop&since=2h&until=1h": "tbody tr",
        f"/jobs?batch={HUGE}": "tbody tr",
        "/jobs?batch=b7&state=failed": "tbody tr",
        "/jobs?tag=t4": "tbody tr",
        f"/jobs?error.group={group}": "tbody tr",
        f"/jobs?error.group={group}&kind=flaky&tag=failed&until=1h": "tbody tr",
        f"/jobs/{newest}": "[role=tabpanel]",
        f"/jobs/{failed}": "[role=tabpanel]",
        "/batches": "tbody tr",
        "/batches/b7": ".plotted",
        f"/batches/{HUGE}": "table.by-state",
        "/kinds": "tbody tr",
        "/kinds/noop": ".plotted",
        "/workers": "section.card",
        "/bulk-actions": ".empty",
        "/audit": ".empty",
        "/tokens": ".pairs",
        f"/load-test?batch={HUGE}": "#states tr",
    }
    slow: dict[str, float] = {}
    for path, ready in pages.items():
        took_s = open_ready(browser, stack, path, ready)
        rows = browser.run("return document.querySelectorAll('tbody tr').length")
        print(f"{path:<70} {took_s:6.2f} s {rows:6} rows")  # noqa: T201
        if took_s > READY_WITHIN_S:
            slow[path] = took_s
        assert rows <= MOST_ROWS, path
    assert slow == {}
    # The figures are those of the store, and the plot says of which jobs it is.
    visit_batch(browser, stack, ended_jobs)
    open_ready(browser, stack, "/attention", "article.group")
    # The accessibility tree leaves out cards that are far outside of the window.
    assert browser.run("return document.querySelectorAll('article.group').length") == GROUPS
    assert browser.complaints() == []


def visit_batch(browser: Browser, stack: TestStack, ended_jobs: int) -> None:
    print("plot", open_ready(browser, stack, f"/batches/{HUGE}", ".plotted"))  # noqa: T201
    total = ended_jobs // HUGE_OF
    says(browser, f"All {total:,} jobs have ended")
    ends = stack.call("GET", f"/batches/{HUGE}/ends").body
    assert sum(point["succeeded"] for point in ends["points"]) == min(total, BATCH_ENDS_READ)
    assert ends["is_complete"] == (total < BATCH_ENDS_READ)
    assert len(ends["points"]) <= MOST_POINTS


def ids_of(browser: Browser) -> list[str]:
    return list(browser.run("return [...document.querySelectorAll('tbody a[data-open]')].map((one) => one.title)"))


def grows(browser: Browser, holds: Callable[[list[str]], bool]) -> None:
    """Wait until the ids of the shown rows are as they should be."""
    until(browser, lambda: holds(ids_of(browser)), what=lambda: "the next rows")


def test_lists_over_many_ended_jobs_page_on(stack: TestStack, browser: Browser, many: int) -> None:
    open_ready(browser, stack, "/jobs", "tbody tr")
    seen: list[str] = []
    for _ in range(3):
        while len(ids_of(browser)) < MOST_ROWS:
            number = len(ids_of(browser))
            shown(browser, "button", "^More$").click()
            grows(browser, lambda ids, number=number: len(ids) > number)
        seen += ids_of(browser)
        shown(browser, "link", "^Older jobs$").click()
        grows(browser, lambda ids, last=seen[-1]: bool(ids) and ids[0] < last)
    assert len(seen) == 3 * MOST_ROWS
    token, listed = "", []
    for _ in range(3):
        answer = stack.call("GET", f"/jobs?page_size={MOST_ROWS}&page_token={token}").body
        listed += [job["id"] for job in answer["jobs"]]
        token = answer["next_page_token"]
    assert seen == listed

    names = "return [...document.querySelectorAll('tbody th a')].map((one) => one.innerText)"
    open_ready(browser, stack, "/batches", "tbody tr")
    first = browser.run(names)
    assert len(first) == PAGE
    shown(browser, "link", "^Older batches$").click()
    until(
        browser,
        lambda: (found := browser.run(names)) and not {*found} & {*first},
        what=lambda: "the next batches",
    )
    assert browser.complaints() == []
