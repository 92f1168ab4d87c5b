"""The frame of all pages in a real browser, with tokens: who signs in, what each may do, and what the audit tells.

A tester can set `ACKED_TEST_NONCE`; it stands in reasons, so that no canned answer passes.
"""

import re

import pytest
from selenium.webdriver import Keys

from acked_common.model.audit import AuditAction
from acked_common.model.lifecycle import State
from support import axe
from support.access import Client, id_of, make_token
from support.browser import Browser
from support.deliveries import ended_delivery
from support.focus import walk
from support.nonce import nonce
from support.pages import open_as, url
from support.roles import all_shown, says, shown, text_of, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
NONCE = nonce()
TENANT = "default"
PLACES = {
    "Overview": "/",
    "Attention": "/attention",
    "Jobs": "/jobs",
    "Batches": "/batches",
    "Kinds": "/kinds",
    "Schedules": "/schedules",
    "Callbacks": "/callbacks",
    "Workers": "/workers",
    "Bulk actions": "/bulk-actions",
    "Audit": "/audit",
    "Tokens": "/tokens",
    "Load test": "/load-test",
}
ON_THE_BAR = ("Overview", "Attention", "Jobs", "Batches")
ACTS = re.compile(
    r"^(cancel|retry|run|edit|erase|resolve|pause|resume|drain|abort|snooze|take|comment|send|choose|new|make|rotate|end|delete)\b",
    re.I,
)
FAILS_AT_ONCE = {"failures": 1000}


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant=TENANT, client="ada"))


@pytest.fixture(scope="module")
def reader(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "read", tenant=TENANT, client="bob"))


@pytest.fixture
def browser(chromium: Browser, stack: TestStack) -> Browser:
    """A browser that has forgotten its token."""
    chromium.show_as()
    chromium.open(url(stack, "/healthz"))
    chromium.run("sessionStorage.clear(); localStorage.clear()")
    chromium.complaints()
    return chromium


def sign_in(browser: Browser, token: str) -> None:
    shown(browser, "textbox", "Token").type(token)
    shown(browser, "button", "Sign in").click()


def failed_job(client: Client, **fields: str) -> str:
    job_id = client.process("flaky", max_attempts=1, payload=FAILS_AT_ONCE, **fields)
    assert client.call("GET", f"/status/{job_id}?wait_s=30").body["state"] == State.FAILED
    return job_id


def test_page_asks_for_a_token_and_says_what_is_wrong_with_one(
    stack: TestStack, browser: Browser, reader: Client, operator: Client
) -> None:
    browser.open(url(stack, "/tokens"))
    shown(browser, "heading", "^Sign in$")
    assert "./just token make" in text_of(browser)
    sign_in(browser, "acked_nothing_at_all")
    says(browser, "token")
    shown(browser, "alert")
    sign_in(browser, reader.token)
    shown(browser, "heading", "^Tokens$")
    says(browser, r"May\s+read")
    assert "It needs the permission operate" in text_of(browser)
    assert reader.token not in browser.run("return location.href + document.documentElement.outerHTML")
    shown(browser, "button", "^Sign out$").click()
    sign_in(browser, operator.token)
    says(browser, "Tokens of this tenant")
    says(browser, "bob")
    # The browser itself writes of each 401.
    assert all("401" in complaint for complaint in browser.complaints())


def test_place_of_each_page_is_marked_once(browser: Browser, operator: Client) -> None:
    for name, path in PLACES.items():
        open_as(browser, operator, path)
        # Pages have lists of their own, such as that of the states, with a mark in each.
        current = browser.run(
            "return [...document.querySelectorAll('[aria-label=Pages] [aria-current]')].map((one) => one.innerText)"
        )
        # The place of attention also has its count.
        assert [re.sub(r"[\s\d,+]+$", "", one) for one in current] == [name]


def test_phone_shows_four_places_and_the_others_behind_more(browser: Browser, operator: Client) -> None:
    browser.show_as(width=390, height=800)
    open_as(browser, operator, "/audit")
    bar = (
        "[...document.querySelectorAll('nav a')].filter((one) => one.checkVisibility())"
        ".map((one) => one.innerText.trim())"
    )
    assert tuple(browser.run(f"return {bar}")) == ON_THE_BAR
    more = shown(browser, "button", "^More")
    assert more.call("return this.classList.contains('current')")
    more.focus()
    browser.press(Keys.ENTER)
    assert set(browser.run(f"return {bar}")) == set(PLACES)
    browser.press(Keys.TAB)
    assert browser.run("return document.activeElement.innerText") == "Kinds"
    browser.press(Keys.ESCAPE)
    assert tuple(browser.run(f"return {bar}")) == ON_THE_BAR
    assert browser.run("return document.activeElement.id") == "more"
    more.click()
    shown(browser, "link", "^Load test$").click()
    shown(browser, "heading", "^Load test$")
    browser.show_as()


def acts_on(browser: Browser, client: Client, path: str) -> list[str]:
    """The names of what a page lets its client do."""
    open_as(browser, client, path)
    browser.wait_for(
        "document.querySelector('.line').dataset.line !== 'begin' && !document.querySelector('.skeleton')", within_s=60
    )
    return [
        one.name for one in (*all_shown(browser, "button"), *all_shown(browser, "checkbox")) if ACTS.match(one.name)
    ]


def test_reader_sees_no_action_on_any_page(browser: Browser, operator: Client, reader: Client) -> None:
    batch = f"acts-{NONCE}"
    job_id, *_ = [failed_job(operator, batch=batch) for _ in range(4)]
    eventually(
        lambda: operator.call("GET", "/attention").body["groups"],
        within_s=CENSUS_WITHIN_S,
        what="the census has counted a group",
    )
    nightly = {"cron": "0 0 1 1 *", "kind": "noop"}
    assert operator.call("PUT", "/schedules/nightly", nightly).status == 201
    assert operator.call("POST", "/callback-secrets").status == 201
    called, _ = ended_delivery(operator)
    of_one = (f"/batches/{batch}", f"/jobs/{job_id}", "/kinds/demo", "/schedules/nightly", f"/jobs/{called}")
    of_all = ("/attention", "/jobs", "/kinds", "/schedules", "/callbacks", "/workers", "/load-test")
    with_acts = (*of_one, *of_all)
    for path in with_acts:
        assert acts_on(browser, operator, path), path
    for path in {*with_acts, *PLACES.values()}:
        assert acts_on(browser, reader, path) == [], path
    browser.open(url(reader.stack, "/load-test"))
    says(browser, "Nothing runs here")
    # It lasts for 30 s, and has an act while it runs.
    order = {"action": "retry", "filter": {"batch": batch, "state": State.FAILED.value}, "rate_per_s": 0.1}
    bulk = operator.call("POST", "/bulk-actions", order).body["id"]
    assert acts_on(browser, operator, f"/bulk-actions/{bulk}") == ["Abort"]
    assert acts_on(browser, reader, f"/bulk-actions/{bulk}") == []
    assert operator.call("GET", f"/bulk-actions/{bulk}").body.get("ended_at") is None
    commands = {
        f"/jobs/{job_id}/cancel": None,
        f"/bulk-actions/{bulk}/abort": None,
        "/bulk-actions": {"action": "retry", "filter": {"kind": "flaky", "state": State.FAILED.value}},
        "/kinds/demo/pause": {"reason": NONCE},
        "/schedules/nightly/pause": {"reason": NONCE},
        "/callback-secrets": None,
        "/workers/worker-1/drain": None,
    }
    for path, body in commands.items():
        assert reader.call("POST", path, body).status == 403, path
    assert operator.call("POST", f"/bulk-actions/{bulk}/abort").status == 200
    assert browser.complaints() == []


def test_filters_of_the_audit_stand_in_its_address(browser: Browser, operator: Client) -> None:
    job_id = failed_job(operator)
    assert operator.call("POST", f"/jobs/{job_id}/retry").status == 200
    open_as(browser, operator, "/audit")
    shown(browser, "combobox", "Action").call("this.value = args[0]", AuditAction.RETRY.value)
    shown(browser, "textbox", "Client").type("ada")
    shown(browser, "textbox", "Since").type("1h")
    shown(browser, "button", "^Filter$").click()
    browser.wait_for("location.search.includes('action=retry') && document.querySelector('tbody tr')", within_s=60)
    assert browser.run("return location.search") == "?action=retry&client=ada&since=1h"
    rows = browser.run("return [...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    assert rows
    assert all("Retry job" in row for row in rows)
    assert job_id[-8:] in rows[0]
    shown(browser, "link", "^All entries$").click()
    browser.wait_for("location.search === '' && document.querySelector('tbody tr')", within_s=60)
    # A filter that the gateway refuses leaves the form, with what was typed.
    browser.open(url(operator.stack, "/audit?since=yesterday"))
    shown(browser, "alert")
    assert shown(browser, "textbox", "Since").call("return this.value") == "yesterday"
    assert all("422" in complaint for complaint in browser.complaints())


def test_new_entries_are_announced_and_nothing_moves(browser: Browser, operator: Client) -> None:
    job_id = failed_job(operator)
    assert operator.call("POST", f"/jobs/{job_id}/retry").status == 200
    open_as(browser, operator, "/audit")
    browser.wait_for("document.querySelector('tbody tr')", within_s=60)
    where = (
        "const row = document.querySelector('tbody tr');"
        "return [row.dataset.key, row.getBoundingClientRect().top + scrollY]"
    )
    before = browser.run(where)
    other = operator.process("noop", delay_s=3600)
    assert operator.call("POST", f"/jobs/{other}/cancel").status == 200
    button = shown(browser, "button", "^Show 1 new entry$")
    assert browser.run(where) == before
    button.click()
    until(browser, lambda: browser.run(where)[0] != before[0], what=lambda: "the new entry is the first one")
    assert other[-8:] in browser.run("return document.querySelector('tbody tr').innerText")
    assert browser.complaints() == []


def test_older_entries_follow_by_page(browser: Browser, operator: Client) -> None:
    made = len(operator.call("GET", "/audit?page_size=200").body["entries"])
    for _ in range(made, 51):
        # Acts that a job does not allow are not written: each entry needs a job of its own.
        assert operator.call("POST", f"/jobs/{operator.process('noop', delay_s=3600)}/cancel").status == 200
    open_as(browser, operator, "/audit")
    shown(browser, "link", "^Older entries$").click()
    shown(browser, "link", "^Back to the newest entries$")
    assert "page_token=" in browser.run("return location.search")
    browser.wait_for("document.querySelector('tbody tr')", within_s=60)
    assert browser.complaints() == []


def test_address_without_a_page_shows_the_way_on(stack: TestStack, browser: Browser, operator: Client) -> None:
    open_as(browser, operator, "/nowhere")
    shown(browser, "heading", "^Not found$")
    assert "Connecting" not in text_of(browser), "nothing is live there"
    shown(browser, "link", "Go to the overview").click()
    shown(browser, "heading", "^Overview$")
    # What only programs read stays JSON in a browser too.
    browser.open(url(stack, "/healthz"))
    assert '"alive"' in text_of(browser)


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.long), 390])
def test_pages_of_the_frame_have_no_fault_of_accessibility(
    stack: TestStack, browser: Browser, operator: Client, width: int
) -> None:
    assert operator.call("POST", f"/jobs/{failed_job(operator)}/retry").status == 200
    browser.show_as(width=width)
    browser.open(url(stack, "/audit"))
    shown(browser, "heading", "^Sign in$")
    assert axe.faults(browser) == []
    for path, ready in (
        ("/audit", "tbody tr"),
        ("/audit?client=nobody", ".empty"),
        ("/audit?since=x", ".problem"),
        ("/tokens", ".pairs"),
        ("/load-test", "#doing"),
        ("/nowhere", ".empty"),
        ("/problems/busy", "h2"),
    ):
        browser.show_as(width=width)
        open_as(browser, operator, path) if path != "/problems/busy" else browser.open(url(stack, path))
        browser.wait_for(f"document.querySelector('{ready}')", within_s=60)
        assert axe.faults(browser) == [], path
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), path
        browser.show_as(width=width, scheme="dark")
        assert axe.faults_of_colors(browser) == [], path
    browser.show_as()


def test_pages_of_the_frame_fit_into_320_pixels(browser: Browser, operator: Client) -> None:
    for more in ({"width": 320, "height": 640}, {"width": 1280, "height": 1024, "zoom": 4.0}):
        browser.show_as(**more)  # type: ignore[arg-type]
        for path in ("/audit", "/tokens", "/load-test", "/nowhere"):
            open_as(browser, operator, path)
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), (path, more)
    browser.show_as()


def test_keys_lead_through_a_list_and_to_other_pages(browser: Browser, operator: Client) -> None:
    older, newer = failed_job(operator), failed_job(operator)
    open_as(browser, operator, "/jobs?page_size=10")
    browser.wait_for("document.querySelectorAll('tbody tr').length > 1", within_s=60)
    for key, expected in (("j", newer), ("j", older), ("k", newer), ("k", newer)):
        browser.press(key)
        assert job_with_focus(browser) == expected, key
    browser.press("x")
    says(browser, "1 job chosen")
    assert shown(browser, "checkbox", newer).call("return this.checked")
    browser.press("x")
    says(browser, "Choose jobs to act on them")
    shown(browser, "checkbox", newer).focus()
    browser.press(Keys.SPACE, "j")
    assert job_with_focus(browser) == older

    browser.press("?")
    help_ = shown(browser, "dialog", "^Words and keys$").text
    assert "Next or previous row" in help_ and "its handler" in help_
    assert re.findall(r"g (\w)\s+(\w+)", help_)[:3] == [("o", "Overview"), ("a", "Attention"), ("j", "Jobs")]
    browser.press("k")
    browser.press(Keys.ESCAPE)
    until(browser, lambda: all_shown(browser, "dialog") == [], what=lambda: "the list of keys is closed")
    assert job_with_focus(browser) == older
    browser.press(Keys.ENTER)
    shown(browser, "heading", f"^flaky, job {older}$")

    browser.press("g", "a")
    shown(browser, "heading", "^Attention$")
    says(browser, "groups? of failed jobs|All is well|Not counted yet")
    browser.press("/")
    browser.press(*"jkx?", Keys.ENTER)
    browser.wait_for("location.search === '?kind=jkx%3F'", within_s=60)
    browser.press("g", "o")
    shown(browser, "heading", "^Overview$")
    browser.press("g", "t")
    shown(browser, "heading", "^Tokens$")


def job_with_focus(browser: Browser) -> str:
    return str(browser.run("return document.activeElement.closest('tr')?.querySelector('a').title"))


def test_bar_of_a_phone_never_covers_the_focus(browser: Browser, operator: Client) -> None:
    job_id = failed_job(operator)
    browser.show_as(width=390, height=664)
    for path, ready in (
        ("/attention", "article, .empty"),
        ("/jobs?page_size=8", "tbody tr"),
        (f"/jobs/{job_id}#tab=errors", "[role=tabpanel]"),
    ):
        open_as(browser, operator, path)
        browser.wait_for(f"document.querySelector('main')?.querySelector('{ready}')", within_s=60)
        walked = walk(browser)
        assert walked.unreached == [], path
        assert walked.covered == [], path
    browser.show_as()


def test_operator_finds_the_four_acts_in_the_audit(browser: Browser, operator: Client, reader: Client) -> None:
    for _ in range(3):
        failed_job(operator)
    waiting = operator.process("noop", delay_s=3600)
    open_as(browser, reader, "/audit")
    says(browser, "Go|When")
    acts = {
        f"/jobs/{waiting}/cancel": None,
        "/bulk-actions": {
            "action": "retry",
            "filter": {"kind": "flaky", "state": State.FAILED.value},
            "reason": f"mended {NONCE}",
        },
        "/kinds/demo/pause": {"reason": f"upgrade {NONCE}"},
        "/kinds/demo/resume": None,
        "/workers/worker-1/drain": None,
    }
    for path, body in acts.items():
        answer = operator.call("POST", path, body)
        assert answer.status in (200, 202), answer.raw
    counted = operator.call("GET", "/audit?action=bulk").body["entries"][0]["count"]

    # The page was open meanwhile: it shows them at once where it was empty, and else says that there are more.
    browser.wait_for(
        "/Drain worker/.test(document.querySelector('main').innerText) || document.querySelector('.announced button')",
        within_s=60,
    )
    for one in all_shown(browser, "button", "new entr"):
        one.click()
    says(browser, "Drain worker")
    rows = browser.run("return [...document.querySelectorAll('tbody tr')].slice(0, 5).map((row) => row.innerText)")
    assert "Drain worker worker-1" in rows[0]
    assert "Resume kind demo" in rows[1]
    assert "Pause kind demo" in rows[2]
    assert f"upgrade {NONCE}" in rows[2]
    assert f"Bulk retry of {counted} jobs where kind: flaky, state: {State.FAILED}" in rows[3]
    assert f"mended {NONCE}" in rows[3]
    assert waiting[-8:] in rows[4]
    for row in rows:
        assert "ada" in row
        assert id_of(operator.token) in row
        assert re.search(r"just now|\d+ (s|min) ago", row)
    link = shown(browser, "link", f"^{counted} jobs$")
    assert link.call("return this.pathname").startswith("/bulk-actions/")
    assert browser.complaints() == []
