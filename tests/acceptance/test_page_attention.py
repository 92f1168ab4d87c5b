"""The pages of failures and of bulk actions in a real browser: a person sees causes, and acts on one of them."""

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from selenium.webdriver import Keys

from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.browser import Browser
from support.nonce import nonce
from support.roles import Shown, all_shown, says, shown, text_of, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
EACH = 100
LATER = 40
KINDS = ("test.customer", "test.amount", "test.fetch")
RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>{RUN}"
ACTS = r"^(Retry|Resolve|Snooze|Unsnooze|Comment|Take|Release|Abort)\b"


@pytest.fixture(scope="module")
def ada(stack: TestStack) -> Client:
    """A client that may do everything a person does on these pages."""
    return Client(stack, make_token(stack, "submit", "read", "operate", client="ada"))


@pytest.fixture(scope="module")
def eve(stack: TestStack) -> Client:
    """A client of the same tenant that only reads."""
    return Client(stack, make_token(stack, "read", client="eve"))


@pytest.fixture(scope="module")
def failed(ada: Client) -> None:
    """300 failed jobs of three causes, with messages that are never the same twice."""
    for kind in KINDS:
        submit(ada, kind, EACH)
    counted(ada, dict.fromkeys(KINDS, EACH))


def submit(client: Client, kind: str, number: int, **payload: Any) -> list[str]:
    """Jobs that have failed, of one batch for each kind."""
    batch = f"{kind}-{RUN}"
    before = ended(client, batch)
    with ThreadPoolExecutor(8) as pool:
        ids = list(
            pool.map(
                lambda n: client.process(kind, payload={"run": RUN, "n": n, **payload}, batch=batch), range(number)
            )
        )
    eventually(lambda: ended(client, batch) == before + number, within_s=60, what=f"{number} of {kind} have failed")
    return ids


def ended(client: Client, batch: str) -> int:
    answer = client.call("GET", f"/batches/{batch}")
    return int(answer.body["states"].get(State.FAILED, 0)) if answer.status == 200 else 0


def groups(client: Client, query: str = "") -> dict[str, Any]:
    """The groups of the newest census by their kind."""
    return {group["kind"]: group for group in client.call("GET", f"/attention{query}").body["groups"]}


def counted(client: Client, expected: dict[str, int]) -> None:
    eventually(
        lambda: expected.items() <= {kind: group["count"] for kind, group in groups(client).items()}.items(),
        within_s=CENSUS_WITHIN_S,
        what=f"the census counts {expected}",
    )


def runs(client: Client, ids: list[str]) -> Counter[int]:
    """How many of the jobs are in each run."""
    return Counter(client.call("GET", f"/status/{job_id}").body["run"] for job_id in ids)


def open_as(browser: Browser, client: Client, path: str) -> None:
    """A page in a tab that has the token of a client."""
    at = f"http://127.0.0.1:{client.stack.gateway_port}"
    browser.open(f"{at}/pages/icon.svg")
    browser.run("sessionStorage.setItem('acked.token', arguments[0])", client.token)
    browser.open(at + path)


def cards(browser: Browser) -> list[Shown]:
    return all_shown(browser, "article")


def shows_groups(browser: Browser, number: int) -> None:
    """Wait until the page shows so many groups. It shows those of the census, which pauses longer on a busy machine."""
    until(
        browser,
        lambda: len(cards(browser)) == number,
        within_s=CENSUS_WITHIN_S,
        what=lambda: f"{number} groups",
    )


def card(browser: Browser, kind: str) -> Shown:
    """The group of a kind, as soon as the page shows it."""
    found: list[Shown] = []

    def is_there() -> bool:
        found[:] = [one for one in cards(browser) if f"kind {kind}" in one.text]
        return len(found) == 1

    until(browser, is_there, within_s=CENSUS_WITHIN_S, what=lambda: f"one group of {kind}")
    return found[0]


def button(browser: Browser, kind: str, name: str) -> Shown:
    """A button of the group of a kind."""
    found: list[Shown] = []

    def is_there() -> bool:
        found[:] = [
            one
            for one in all_shown(browser, "button", name)
            if f"kind {kind}" in (one.call("return this.closest('article')?.innerText") or "")
        ]
        return len(found) == 1

    until(browser, is_there, within_s=CENSUS_WITHIN_S, what=lambda: f"a button {name!r} of {kind}")
    return found[0]


def press_until(browser: Browser, key: str, holds: str) -> None:
    """Press a key until something holds of the element that has the focus."""
    for _ in range(60):
        if browser.run(f"const focused = document.activeElement; return {holds}"):
            return
        browser.press(key)
    raise AssertionError(f"{key!r} does not lead to where {holds}; the page:\n{text_of(browser)}")


def test_causes_are_groups_with_their_line_of_code(browser: Browser, ada: Client, failed: None) -> None:
    open_as(browser, ada, "/attention")

    shows_groups(browser, len(KINDS))
    told = groups(ada)
    for kind in KINDS:
        text = card(browser, kind).text
        assert f"{EACH} failed" in text
        assert told[kind]["message"] in text
        assert told[kind]["type"] in text
        assert told[kind]["culprit"] in text
        assert re.search(r"First (?:just now|\d+ (?:s|min) ago), last (?:just now|\d+ (?:s|min) ago)", text), text
    assert len(all_shown(browser, "image", f"^{EACH} failed in the last hour, at most [0-9]+ in a minute$")) == len(
        KINDS
    )
    says(browser, "3 groups of failed jobs", within_s=CENSUS_WITHIN_S)
    assert browser.run("return document.title") == "(3) Attention · Acked"
    assert browser.complaints() == []


def test_a_group_shows_examples_with_the_traceback(browser: Browser, ada: Client, failed: None) -> None:
    open_as(browser, ada, "/attention?kind=test.amount")
    card(browser, "test.amount").call("this.querySelector('summary').click()")

    says(browser, "Traceback \\(most recent call last\\)")
    text = card(browser, "test.amount").text
    assert "raise ValueError" in text
    assert text.count("Job …") == 5
    assert len(cards(browser)) == 1
    assert browser.complaints() == []


def test_who_may_only_read_has_no_buttons(browser: Browser, ada: Client, eve: Client, failed: None) -> None:
    open_as(browser, eve, "/attention")

    shows_groups(browser, len(KINDS))
    assert all_shown(browser, "button", ACTS) == []
    assert "grouped_kinds" not in text_of(browser), "the line of code is for operators"
    assert len(all_shown(browser, "link", "^Open list$")) == len(KINDS)
    assert eve.call("POST", f"/attention/{groups(ada)['test.fetch']['group']}", {"taken": True}).status == 403
    assert browser.complaints() == []


def by_mouse(browser: Browser, kind: str, go_on: Callable[[], None]) -> None:
    button(browser, kind, f"^Retry {EACH}$").click()
    confirm = shown(browser, "button", f"^Retry {EACH} jobs$")
    go_on()
    confirm.click()


def by_keyboard(browser: Browser, kind: str, go_on: Callable[[], None]) -> None:
    card(browser, kind)
    browser.press("j")
    press_until(browser, "j", f"focused.closest('article')?.innerText.includes('kind {kind}')")
    press_until(browser, Keys.TAB, f"focused.innerText === 'Retry {EACH}'")
    browser.press(Keys.ENTER)
    shown(browser, "button", f"^Retry {EACH} jobs$")
    go_on()
    press_until(browser, Keys.TAB, f"focused.innerText === 'Retry {EACH} jobs'")
    browser.press(Keys.ENTER)


@pytest.mark.parametrize(("kind", "retry"), [("test.amount", by_mouse), ("test.fetch", by_keyboard)])
def test_a_retry_moves_what_its_preview_said(
    browser: Browser, ada: Client, failed: None, kind: str, retry: Callable[..., None]
) -> None:
    group = groups(ada)[kind]
    first = [job["id"] for job in ada.call("GET", f"/jobs?error.group={group['group']}&page_size=1000").body["jobs"]]
    assert len(first) == EACH
    later: list[str] = []

    def more_fail() -> None:
        dialog = shown(browser, "dialog", f"^Retry {EACH} jobs of one group$").text
        assert f"{EACH} jobs: Jobs of the error group {group['group']}" in dialog
        assert f"{group['type']}: " in dialog
        assert f"kind {kind}" in dialog
        later.extend(submit(ada, kind, LATER))

    open_as(browser, ada, "/attention")
    retry(browser, kind, more_fail)

    says(browser, f"Retry of {EACH} jobs")
    says(browser, f"{EACH} of {EACH} done")
    assert runs(ada, first) == {2: EACH}
    assert runs(ada, later) == {1: LATER}
    eventually(
        lambda: ended(ada, f"{kind}-{RUN}") == EACH + LATER, within_s=60, what="those that were retried fail again"
    )
    button(browser, kind, f"^Retry {EACH + LATER}$")
    assert browser.complaints() == []


@pytest.mark.long
def test_progress_stays_until_the_group_is_gone(browser: Browser, ada: Client, failed: None) -> None:
    submit(ada, "test.mended", 12, message=HOSTILE)
    counted(ada, {"test.mended": 12})
    open_as(browser, ada, "/attention")
    assert HOSTILE in card(browser, "test.mended").text
    assert browser.run("return document.querySelectorAll('img').length") == 0

    button(browser, "test.mended", "^Retry 12$").click()
    shown(browser, "textbox", "Reason").type(f"mended {HOSTILE}")
    shown(browser, "spinbutton", "a second").type("3")
    shown(browser, "button", "^Retry 12 jobs$").click()

    until(browser, lambda: "at most 3/s" in card(browser, "test.mended").text, what=lambda: "the progress in the group")
    says(browser, "Retry of 12 jobs: done, 12 of 12 done")
    shows_groups(browser, len(KINDS))
    open_as(browser, ada, "/attention?kind=test.mended")
    says(browser, "No failed job of the kind test.mended waits", within_s=CENSUS_WITHIN_S)
    says(browser, "The last failure was in the ten minutes after", within_s=CENSUS_WITHIN_S)

    open_as(browser, ada, "/bulk-actions")
    link = shown(browser, "link", "^Retry 12 jobs$")
    row = link.call("return this.closest('tr').innerText")
    for text in ("done", "12 of 12 done", f"mended {HOSTILE}", "ada"):
        assert text in row
    link.click()
    shown(browser, "heading", "^Retry of 12 jobs$")
    says(browser, "at most 3 jobs per second")
    assert f"mended {HOSTILE}" in text_of(browser)
    assert browser.run("return document.title").startswith("Retry of 12 jobs")
    action = browser.run("return location.pathname").rpartition("/")[2]
    shown(browser, "link", "^entry of the audit$").click()
    until(browser, lambda: "/audit?" in browser.run("return location.href"), what=lambda: "the audit")
    (entry,) = ada.call("GET", browser.run("return location.pathname + location.search")).body["entries"]
    assert entry["target"]["bulk"] == action
    assert shown(browser, "textbox", "Acts on bulk action").call("return this.value") == action
    until(browser, lambda: "Bulk retry of 12 jobs" in text_of(browser), what=lambda: "the entry")
    assert (entry["reason"], entry["count"]) == (f"mended {HOSTILE}", 12)
    assert browser.complaints() == []


def test_an_action_is_aborted_from_its_page(browser: Browser, ada: Client, eve: Client, failed: None) -> None:
    group = groups(ada)["test.customer"]["group"]
    order = {"action": "retry", "filter": {"error.group": group}, "rate_per_s": 1}
    action = ada.call("POST", "/bulk-actions", order).body
    open_as(browser, eve, f"/bulk-actions/{action['id']}")
    says(browser, f"of {EACH} done")
    assert all_shown(browser, "button", ACTS) == []
    open_as(browser, ada, "/attention")
    button(browser, "test.customer", "^Abort$")
    open_as(browser, ada, f"/bulk-actions/{action['id']}")

    shown(browser, "button", "^Abort$").click()
    shown(browser, "button", "^Abort it$").click()

    says(browser, "left as they were")
    says(browser, "Abort asked for\\s+ada")
    left = ada.call("GET", f"/bulk-actions/{action['id']}").body
    assert left["done"] <= EACH - 60
    assert all_shown(browser, "button", "^Abort$") == []
    assert browser.complaints() == []


def test_people_take_a_group_comment_on_it_and_snooze_it(browser: Browser, ada: Client, failed: None) -> None:
    kind = "test.customer"
    open_as(browser, ada, "/attention")
    button(browser, kind, "^Take$").click()
    until(browser, lambda: "Taken by ada" in card(browser, kind).text, what=lambda: "taken by ada")

    button(browser, kind, "^Comment$").click()
    shown(browser, "textbox", "^Comment").type(HOSTILE)
    shown(browser, "button", "^Save$").click()
    until(browser, lambda: HOSTILE in card(browser, kind).text, what=lambda: "the comment as text")

    button(browser, kind, "^Snooze$").click()
    shown(browser, "combobox", "^For").call("this.value = '8'")
    shown(browser, "dialog", "^Snooze").call("this.querySelector('[type=submit]').click()")
    shows_groups(browser, len(KINDS) - 1)
    assert 7.9 < hours_to(groups(ada, "?snoozed=true")[kind]["snoozed_until"]) <= 8

    shown(browser, "link", "^Snoozed$").click()
    assert "Snoozed, back in 7 h" in card(browser, kind).text
    assert len(cards(browser)) == 1
    button(browser, kind, "^Unsnooze$").click()
    says(browser, "No group is snoozed", within_s=CENSUS_WITHIN_S)
    open_as(browser, ada, "/attention?kind=test.customer")
    button(browser, kind, "^Release$").click()
    until(browser, lambda: "Taken by" not in card(browser, kind).text, what=lambda: "released")
    assert len(ada.call("GET", "/audit?action=attention").body["entries"]) == 5
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert browser.complaints() == []


def hours_to(instant: str) -> float:
    return (datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds() / 3600


def test_what_is_new_since_the_last_visit_is_marked(browser: Browser, ada: Client, failed: None) -> None:
    open_as(browser, ada, "/attention")
    card(browser, "test.fetch")
    assert "new since your last visit" not in text_of(browser)

    # The page would see the new group itself, if its next look came before the end of the visit.
    browser.open("about:blank")
    submit(ada, "test.customer", 1, elsewhere=True)
    eventually(
        lambda: len(ada.call("GET", "/attention?kind=test.customer").body["groups"]) == 2,
        within_s=CENSUS_WITHIN_S,
        what="the census counts one group more",
    )
    open_as(browser, ada, "/attention")

    says(browser, r"groups of failed jobs\. 1 new since your last visit", within_s=CENSUS_WITHIN_S)
    marked = [one for one in cards(browser) if re.search(r"kind test\.customer new$", one.text, re.MULTILINE)]
    assert len(marked) == 1
    assert browser.complaints() == []


def test_failed_jobs_are_resolved_by_hand(browser: Browser, ada: Client, failed: None) -> None:
    ids = submit(ada, "test.mended", 3, message=f"no {HOSTILE}")
    counted(ada, {"test.mended": 3})
    open_as(browser, ada, "/attention?kind=test.mended")

    button(browser, "test.mended", "^Resolve 3$").click()
    shown(browser, "textbox", "Result").type("{wrong")
    shown(browser, "button", "^Resolve 3 jobs$").click()
    says(browser, "The result is no JSON")
    shown(browser, "textbox", "Result").type(f'{{"by": "{RUN}"}}')
    shown(browser, "textbox", "Note").type("called them")
    shown(browser, "button", "^Resolve 3 jobs$").click()

    says(browser, "Resolve of 3 jobs: done, 3 of 3 done")
    for job_id in ids:
        found = ada.call("GET", f"/status/{job_id}").body
        assert (found["result"], found["note"]) == ({"by": RUN}, "called them")
    says(browser, "No failed job of the kind test.mended waits", within_s=CENSUS_WITHIN_S)
    assert browser.complaints() == []
