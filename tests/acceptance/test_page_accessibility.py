"""Every page for everybody: no fault of accessibility, no complaint of the browser, no sideways scrolling.

Each page is opened full, empty, with an error and without a token; each as a wide and a narrow window, light and dark.
"""

import contextlib
from dataclasses import dataclass

import pytest

from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.axe import faults, faults_of_colors
from support.browser import Browser
from support.deliveries import ended_delivery
from support.nonce import nonce
from support.roles import says, shown, text_of, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
RUN = nonce()
HOSTILE = f"<img src=x onerror=document.title='{RUN}'>{RUN}"
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
NARROWEST = 320
LISTS = (
    "/",
    "/attention",
    "/jobs",
    "/batches",
    "/kinds",
    "/schedules",
    "/callbacks",
    "/workers",
    "/bulk-actions",
    "/audit",
    "/tokens",
    "/load-test",
)


@dataclass(frozen=True)
class Filled:
    """A store with something on every page."""

    operator: Client
    stranger: Client
    """Of a tenant without a job."""
    addresses: dict[str, str]
    """Of single things."""


@pytest.fixture(scope="module")
def filled(stack: TestStack) -> Filled:
    permissions = ("submit", "read", "operate", "signal")
    operator = Client(stack, make_token(stack, *permissions, tenant="default", client="ada"))
    stranger = Client(stack, make_token(stack, "submit", "read", "operate", tenant="empty", client="eve"))
    payload = {"run": RUN, "text": HOSTILE}
    batch = f"pages-{RUN}"
    done = [operator.process("noop", payload=payload, batch=batch, tags=[HOSTILE[:60]]) for _ in range(3)]
    failed = [operator.process("test.customer", payload=payload, batch=batch) for _ in range(3)]
    later = operator.process("noop", delay_s=3600, batch=batch)
    for job_id in (*done, *failed):
        assert operator.call("GET", f"/status/{job_id}?wait_s=30").body["finished_at"] is not None
    assert operator.call("POST", f"/jobs/{failed[0]}/retry").status == 200
    operator.call("GET", f"/status/{failed[0]}?wait_s=30")
    assert operator.call("POST", f"/jobs/{later}/cancel").status == 200
    order = {"action": "retry", "filter": {"batch": batch}, "reason": HOSTILE}
    bulk = operator.call("POST", "/bulk-actions", order)
    assert bulk.status == 202
    eventually(
        lambda: operator.call("GET", "/attention").body["groups"],
        within_s=CENSUS_WITHIN_S,
        what="the census has counted the group",
    )
    group = operator.call("GET", "/attention").body["groups"][0]["group"]
    assert operator.call("POST", f"/attention/{group}", {"comment": HOSTILE, "taken": True}).status == 200
    assert operator.call("GET", f"/status/{done[0]}").body["state"] == State.SUCCEEDED
    waits = operator.process("test.tries", payload={"text": HOSTILE})
    eventually(
        lambda: operator.call("GET", f"/status/{waits}").body["state"] == State.WAITING,
        within_s=60,
        what="it is parked",
    )
    assert operator.call("POST", f"/jobs/{waits}/signals/near", {"text": HOSTILE}).status == 202
    fires = {"every_s": 1, "kind": "demo", "payload": {"seconds": 600, "text": HOSTILE}, "tags": [HOSTILE[:60]]}
    assert operator.call("PUT", "/schedules/fires", fires).status == 201
    eventually(
        lambda: len(operator.call("GET", "/schedules/fires/firings").body["firings"]) > 1,
        within_s=60,
        what="it has fired, and was skipped",
    )
    assert operator.call("POST", "/schedules/fires/pause", {"reason": HOSTILE}).status == 200
    assert operator.call("PUT", "/schedules/nightly", {"cron": "30 2 * * *", "kind": "noop"}).status == 201
    assert operator.call("POST", "/callback-secrets").status == 201
    endpoint = {"url": "https://example.com/hook", "kinds": ["nothing"], "headers": {"x-run": RUN}}
    assert operator.call("PUT", "/callback-endpoints/billing", endpoint).status == 201
    called, _ = ended_delivery(operator)
    addresses = {
        "a schedule that fired": "/schedules/fires",
        "a schedule that has not": "/schedules/nightly",
        "a job with a callback": f"/jobs/{called}",
        "a job that succeeded": f"/jobs/{done[0]}",
        "a job that failed twice": f"/jobs/{failed[0]}",
        "a parked job": f"/jobs/{waits}",
        "jobs by what they wait for": "/jobs?waiting_for=signal:paid",
        "a batch": f"/batches/{batch}",
        "a kind": "/kinds/test.customer",
        "a bulk action": f"/bulk-actions/{bulk.body['id']}",
        "a load test": f"/load-test?batch={batch}",
        "a group's jobs": f"/jobs?error.group={group}",
    }
    return Filled(operator, stranger, addresses)


class Reader:
    """A browser with the token of one client, and what it finds wrong with pages."""

    def __init__(self, browser: Browser, stack: TestStack) -> None:
        self.browser = browser
        self._at = f"http://127.0.0.1:{stack.gateway_port}"
        self._token = ""

    def sign_in(self, client: Client | None) -> None:
        """Use the token of a client in this tab; None uses none."""
        self._token = "" if client is None else client.token
        self.browser.open(f"{self._at}/pages/icon.svg")
        self.browser.run("sessionStorage.clear()")
        if self._token:
            self.browser.run("sessionStorage.setItem('acked.token', arguments[0])", self._token)
        self.browser.complaints()

    def open(self, path: str) -> None:
        """Follow a link to a page and wait until it is drawn; a typed address of the load test would start one."""
        self.browser.show_as(width=WIDTHS[0])
        self.browser.run("window.isLeft = true; location.assign(arguments[0])", path)
        drawn = (
            "return !window.isLeft && document.querySelector('main')?.innerText.trim().length > 0"
            " && !document.querySelector('.skeleton')"
        )
        until(self.browser, lambda: self.browser.run(drawn), what=lambda: f"{path} is drawn")

    def wrong(self, path: str) -> list[str]:
        """What is wrong with the page that is open, in each window and scheme."""
        found = []
        for width in WIDTHS:
            for scheme in SCHEMES:
                self.browser.show_as(width=width, scheme=scheme)
                # A scheme is colors: all other rules would find the same twice.
                check = faults if scheme == SCHEMES[0] else faults_of_colors
                found += [f"{path} at {width} {scheme}: {fault}" for fault in check(self.browser)]
        for width, zoom in ((NARROWEST, 1.0), (1280, 4.0)):
            self.browser.show_as(width=width, zoom=zoom)
            wide = self.browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            if wide[0] > wide[1]:
                found.append(f"{path} scrolls sideways: {wide}")
        if self.browser.run("return document.title").startswith(RUN):
            found.append(f"{path} ran a text")
        return found


@pytest.fixture
def reader(chromium: Browser, stack: TestStack) -> Reader:
    chromium.open("about:blank")
    chromium.complaints()
    return Reader(chromium, stack)


def test_full_pages_are_for_everybody(reader: Reader, filled: Filled) -> None:
    reader.sign_in(filled.operator)
    found: list[str] = []
    for path in (*LISTS, *filled.addresses.values()):
        reader.open(path)
        found += reader.wrong(path)
    assert found == []
    assert reader.browser.complaints() == []


@pytest.mark.long
def test_empty_pages_are_for_everybody_and_lead_on(reader: Reader, filled: Filled) -> None:
    reader.sign_in(filled.stranger)
    found: list[str] = []
    for path in LISTS:
        reader.open(path)
        found += reader.wrong(path)
        assert RUN not in text_of(reader.browser), f"{path} shows another tenant's"
    assert found == []
    assert reader.browser.complaints() == []


@pytest.mark.long
def test_pages_of_what_is_not_there_are_for_everybody(reader: Reader, filled: Filled) -> None:
    reader.sign_in(filled.operator)
    found: list[str] = []
    paths = (
        "/jobs/nothing",
        "/batches/nothing",
        "/kinds/nothing",
        "/bulk-actions/nothing",
        "/schedules/nothing",
        "/callbacks?state=lost",
        "/jobs?satte=x",
        "/nothing",
    )
    for path in paths:
        reader.open(path)
        found += reader.wrong(path)
    assert found == []


@pytest.mark.long
def test_without_a_token_every_page_asks_for_one(reader: Reader, filled: Filled) -> None:
    reader.sign_in(None)
    found: list[str] = []
    for path in (*LISTS, *filled.addresses.values()):
        reader.open(path)
        shown(reader.browser, "button", "^Sign in$")
        assert RUN not in text_of(reader.browser).replace(path, "")
    found += reader.wrong("sign in")
    assert found == []


def test_hostile_texts_are_shown_as_texts(reader: Reader, filled: Filled) -> None:
    reader.sign_in(filled.operator)
    for name in ("a job that succeeded", "a bulk action"):
        reader.open(filled.addresses[name])
        says(reader.browser, f"onerror=document.title='{RUN}'>{RUN}")
    reader.open("/attention")
    says(reader.browser, f"onerror=document.title='{RUN}'>{RUN}")
    assert reader.browser.run("return document.querySelectorAll('img').length") == 0
    assert not reader.browser.run("return document.title").startswith(RUN)


def test_the_policy_of_the_pages_refuses_html_from_texts(reader: Reader, filled: Filled) -> None:
    reader.sign_in(filled.operator)
    reader.open("/tokens")
    refused = reader.browser.run(
        """
        const reports = [];
        document.addEventListener("securitypolicyviolation", ({violatedDirective}) => reports.push(violatedDirective));
        try { document.body.innerHTML = "<b>no</b>"; return "done"; } catch (error) { return error.name; }
        """
    )
    assert refused == "TypeError"
    with contextlib.suppress(AssertionError):
        reader.browser.complaints()
