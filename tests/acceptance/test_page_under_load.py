"""Pages under 200 events a second while the gateway is killed: usable, honest, no larger, and right in the end.

The two pages that follow jobs are compared with the API, job by job. Each page is shown to stay usable while the
gateway is away and back, and to show by itself what happens afterwards.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from acked_common.model.lifecycle import TERMINAL
from support.browser import Browser
from support.deliveries import ended_delivery
from support.nonce import nonce
from support.pages import url
from support.roles import says, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually, refuses
from support.steady import frames, held, steady_jobs

pytestmark = [pytest.mark.alone, pytest.mark.long]

ENVIRON = {"ACKED_ACCESS": "off"}
NONCE = nonce()
EVENTS_PER_S = 200
TRANSITIONS = 3
"""Of a job that succeeds at once."""
SHOWN = 150
SHOWN_PER_S = 5
ROUNDS = 2
OBSERVED_S = 4.0
LONGEST_GAP_MS = 1500
"""Between two frames, on a machine that runs all services too."""
LEAST_FRAMES_PER_S = 5
BACK_WITHIN_S = 40.0
STARTS_WITHIN_S = 120.0
"""Of the gateway itself: a second on a quiet machine."""
HEAP_GROWS_AT_MOST = 6 * 2**20
"""The identities and states of two thousand jobs need a tenth of that."""
LISTENERS_GROW_AT_MOST = 20
SEEN_FOR_S = 1.5
SAYS_WITHIN_S = 60.0
GATEWAY = "gateway-1"
FAILS = {"payload": {"failures": 9}, "max_attempts": 1}


def _states_of_batch(browser: Browser, stack: TestStack, batch: str) -> tuple[object, object]:
    shown = browser.run(
        "return Object.fromEntries([...document.querySelectorAll('table.by-state tbody tr')]"
        ".map((row) => [row.cells[0].innerText.trim(), Number(row.cells[1].innerText.replaceAll(',', ''))])"
        ".filter(([, jobs]) => jobs > 0))"
    )
    return shown, stack.call("GET", f"/batches/{batch}").body["states"]


def _rows_of_list(browser: Browser, stack: TestStack, batch: str) -> tuple[object, object]:
    shown = browser.run(
        "return Object.fromEntries([...document.querySelectorAll('tbody tr')].map((row) =>"
        " [row.querySelector('a[data-open]').title, [row.querySelector('[data-state]').dataset.state,"
        " Number(row.querySelector('[data-label=Attempts]').innerText)]]))"
    )
    jobs = {job_id: stack.status(job_id) for job_id in shown}
    assert all(job["batch"] == batch for job in jobs.values())
    return shown, {job_id: [job["state"], job["attempt"]] for job_id, job in jobs.items()}


@pytest.mark.parametrize(
    ("path", "still", "compared"),
    [
        ("/batches/{batch}", "table.by-state", _states_of_batch),
        ("/jobs?batch={batch}&page_size=200", "tbody tr", _rows_of_list),
    ],
    ids=["batch", "list"],
)
def test_page_stays_right_while_the_gateway_is_killed(
    stack: TestStack,
    browser: Browser,
    path: str,
    still: str,
    compared: Callable[[Browser, TestStack, str], tuple[object, object]],
) -> None:
    batch = f"load-{compared.__name__[1:7]}-{NONCE}"
    stack.finished(stack.process("noop", batch=batch))
    shown = [stack.process("noop", batch=batch, delay_s=3600) for _ in range(SHOWN)]
    browser.open(url(stack, path.format(batch=batch)))
    browser.wait_for_text("line", "Live", within_s=60)
    browser.wait_for(f"document.querySelector('{still}')", within_s=60)
    browser.run("window.isTheSamePage = true")
    with steady_jobs(stack, batch=batch, jobs_per_s=EVENTS_PER_S / TRANSITIONS) as accepted:
        # The jobs that the list shows start one after the other, also while the gateway is away.
        order = {"action": "run_now", "ids": shown, "rate_per_s": SHOWN_PER_S}
        assert stack.call("POST", "/bulk-actions", order).status == 202
        is_usable(browser, still)
        before = held(browser)
        for _ in range(ROUNDS):
            stack.stack.parts.kill(GATEWAY)
            browser.wait_for_text("line", "No connection, figures from", within_s=10)
            assert browser.run("return document.title").startswith("(offline)")
            browser.wait_for_text("line", "Live", within_s=BACK_WITHIN_S)
            assert not browser.run("return document.title").startswith("(offline)")
            is_usable(browser, still)
        after = held(browser)
    assert after.elements <= before.elements + 200, (before, after)
    assert after.listeners <= before.listeners + LISTENERS_GROW_AT_MOST, (before, after)
    assert after.heap_bytes <= before.heap_bytes + HEAP_GROWS_AT_MOST, (before, after)
    total = accepted() + SHOWN + 1
    print(f"{path}: {total:,} jobs, {before} -> {after}")  # noqa: T201
    has_ended(stack, batch, total)
    until(
        browser,
        lambda: (both := compared(browser, stack, batch))[0] == both[1] and both[0],
        within_s=60,
        what=lambda: f"the page shows what the API tells: {compared(browser, stack, batch)}",
    )
    assert browser.run("return window.isTheSamePage")
    only_lost_connections(browser)


@dataclass(frozen=True)
class Found:
    """What the pages of single things show."""

    batch: str
    job: str
    bulk: str


@pytest.fixture(scope="module")
def found(stack: TestStack) -> Found:
    """Put something on each page."""
    batch = f"pages-{NONCE}"
    jobs = [stack.process("noop", batch=batch, delay_s=3600) for _ in range(SHOWN)]
    stack.finished(stack.process("flaky", batch=batch, **FAILS))
    ended_delivery(stack)
    for name in ("hourly", "seldom"):
        assert stack.call("PUT", f"/schedules/{name}-{NONCE}", {"kind": "demo", "every_s": 3600}).status == 201
    order = {"action": "run_now", "ids": jobs[1:], "rate_per_s": 0.1}
    bulk = stack.call("POST", "/bulk-actions", order)
    assert bulk.status == 202
    eventually(lambda: stack.call("GET", "/attention").body["groups"], within_s=CENSUS_WITHIN_S, what="a group")
    return Found(batch, jobs[0], bulk.body["id"])


Act = Callable[[TestStack, Found], str]
"""What somebody else does meanwhile; it returns what the page then says."""


def posts(path: str, then: str, body: object = None) -> Act:
    def act(stack: TestStack, found: Found) -> str:
        response = stack.call("POST", path.format(n=NONCE, **vars(found)), body)
        assert response.status in (200, 201, 202), response.raw
        return then

    return act


def fails(stack: TestStack, found: Found) -> str:
    """Let a job fail like the one before."""
    stack.finished(stack.process("flaky", batch=found.batch, **FAILS))
    return f"{len(stack.call('GET', '/jobs?state=failed').body['jobs'])} (?:of them )?failed"


def makes_a_batch(stack: TestStack, _: Found) -> str:
    stack.process("noop", batch=f"late-{NONCE}")
    return f"late-{NONCE}"


def makes_a_schedule(stack: TestStack, _: Found) -> str:
    assert stack.call("PUT", f"/schedules/late-{NONCE}", {"kind": "demo", "every_s": 3600}).status == 201
    return f"late-{NONCE}"


def ends_a_delivery(stack: TestStack, _: Found) -> str:
    return f"…{ended_delivery(stack)[0][-8:]}"


def nothing(then: str) -> Act:
    """The jobs that come all the time are enough, or nothing changes on this page."""
    return lambda _, __: then


EVERY_PAGE: dict[str, tuple[str, Act]] = {
    # By its path: what a person reads, which must not move, and what happens that the page then says.
    "/": ("main section.card", posts("/kinds/demo/pause", f"night {NONCE}", {"reason": f"night {NONCE}"})),
    "/attention": ("article.group", fails),
    "/jobs": ("tbody tr", nothing("new jobs?, show")),
    "/jobs/{job}": ("table.timeline tbody tr", posts("/jobs/{job}/cancel", "Cancelled")),
    "/batches": ("tbody tr", makes_a_batch),
    "/batches/{batch}": ("table.by-state tbody tr", fails),
    "/kinds": ("tbody tr", posts("/kinds/http_call/limit", "limit: 7 running", {"running": 7})),
    "/kinds/http_call": ("main section.card", posts("/kinds/http_call/pause", "is paused by")),
    "/schedules": ("tbody tr", makes_a_schedule),
    "/schedules/hourly-{n}": ("main section.card", posts("/schedules/hourly-{n}/run-now", "by Run now")),
    "/callbacks": (".deliveries li", ends_a_delivery),
    "/workers": ("main section.card", nothing("worker-1")),
    "/bulk-actions": ("tbody tr", nothing("Run now 149 jobs")),
    "/bulk-actions/{bulk}": ("main section.card", posts("/bulk-actions/{bulk}/abort", "aborted")),
    "/audit": ("tbody tr", posts("/schedules/seldom-{n}/pause", "new entr(?:y|ies)")),
    "/tokens": ("main section.card", nothing("may do everything")),
    "/load-test?batch={batch}": ("#states tr", nothing(r"\d+ of \d+ jobs have ended")),
}


@pytest.mark.parametrize("path", EVERY_PAGE)
def test_every_page_stays_usable_while_the_gateway_restarts(
    stack: TestStack, browser: Browser, found: Found, path: str
) -> None:
    still, happens = EVERY_PAGE[path]
    browser.open(url(stack, path.format(n=NONCE, **vars(found))))
    browser.wait_for_text("line", "Live", within_s=60)
    browser.wait_for(f"document.querySelector('{still}')", within_s=60)
    browser.run("window.isTheSamePage = true")
    with steady_jobs(stack, batch=f"load-{NONCE}", jobs_per_s=EVENTS_PER_S / TRANSITIONS):
        is_usable(browser, still, for_s=SEEN_FOR_S)
        before = held(browser)
        with gateway_away(stack):
            browser.wait_for_text("line", "No connection, figures from", within_s=BACK_WITHIN_S)
            assert browser.run("return document.title").startswith("(offline)")
            is_usable(browser, still, for_s=SEEN_FOR_S)
        browser.wait_for_text("line", "Live", within_s=BACK_WITHIN_S)
        says(browser, happens(stack, found), within_s=SAYS_WITHIN_S)
        is_usable(browser, still, for_s=SEEN_FOR_S)
        after = held(browser)
    assert browser.run("return window.isTheSamePage")
    assert after.elements <= before.elements + 200, (before, after)
    assert after.listeners <= before.listeners + LISTENERS_GROW_AT_MOST, (before, after)
    assert after.heap_bytes <= before.heap_bytes + HEAP_GROWS_AT_MOST, (before, after)
    only_lost_connections(browser)


@contextmanager
def gateway_away(stack: TestStack) -> Iterator[None]:
    """Stop the gateway, and return when it listens again."""
    stack.stack.parts.stop(GATEWAY)
    try:
        yield
    finally:
        stack.stack.parts.start(GATEWAY)
        eventually(lambda: not refuses(stack.gateway_port), within_s=STARTS_WITHIN_S, what="the gateway listens")


def only_lost_connections(browser: Browser) -> None:
    """The browser itself writes of each attempt to connect; nothing else may complain."""
    for complaint in browser.complaints():
        assert re.search(r"ERR_|/ws/feed|status of 503", complaint), complaint


def has_ended(stack: TestStack, batch: str, total: int) -> None:
    """Wait until all accepted jobs have ended."""

    def states() -> dict[str, int]:
        found = stack.batch(batch)
        return found if sum(found.values()) == total and {*found} <= TERMINAL else {}

    eventually(states, within_s=60, what=f"{total} jobs have ended, of {stack.batch(batch)}")


def is_usable(browser: Browser, still: str, *, for_s: float = OBSERVED_S) -> None:
    """Frames are drawn all the time, and what a person reads stays where it is."""
    found = frames(browser, still, for_s=for_s)
    assert found.longest_ms < LONGEST_GAP_MS, found
    assert found.count > for_s * LEAST_FRAMES_PER_S, found
    assert found.moved == 0, found
