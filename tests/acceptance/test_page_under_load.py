"""Pages under 200 events a second while the gateway is killed: usable, honest, no larger, and right in the end."""

from collections.abc import Callable

import pytest

from acked_common.model.lifecycle import TERMINAL
from support.browser import Browser
from support.nonce import nonce
from support.pages import url
from support.roles import until
from support.stacks import TestStack, eventually
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
HEAP_GROWS_AT_MOST = 6 * 2**20
"""The identities and states of two thousand jobs need a tenth of that."""
LISTENERS_GROW_AT_MOST = 20


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
            stack.stack.parts.kill("gateway-1")
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
    for complaint in browser.complaints():
        # Those of the browser itself, about each attempt to connect.
        assert "ERR_" in complaint or "/ws/feed" in complaint or "status of 503" in complaint, complaint


def has_ended(stack: TestStack, batch: str, total: int) -> None:
    """Wait until all accepted jobs have ended."""

    def states() -> dict[str, int]:
        found = stack.batch(batch)
        return found if sum(found.values()) == total and {*found} <= TERMINAL else {}

    eventually(states, within_s=60, what=f"{total} jobs have ended, of {stack.batch(batch)}")


def is_usable(browser: Browser, still: str) -> None:
    """Frames are drawn all the time, and what a person reads stays where it is."""
    found = frames(browser, still, for_s=OBSERVED_S)
    assert found.longest_ms < LONGEST_GAP_MS, found
    assert found.count > OBSERVED_S * LEAST_FRAMES_PER_S, found
    assert found.moved == 0, found
