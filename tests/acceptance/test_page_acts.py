"""Every act of an operator by the buttons of the pages, and each of them in the page of the audit, with who did it.

`ACKED_TEST_NONCE` stands in payloads, reasons and notes, so that no canned answer passes.
"""

import re
from dataclasses import dataclass

import pytest

from acked_common.model.audit import AuditAction
from acked_common.model.lifecycle import State
from support.access import Client, id_of, make_token
from support.browser import Browser
from support.deliveries import ended_delivery
from support.nonce import nonce
from support.pages import open_as
from support.roles import says, shown, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
NONCE = nonce()
KIND = "flaky"
FAILS = {"failures": 1000, "nonce": NONCE}
MANY = 5
# Tokens are made at the command line.
BY_PEOPLE = {action.value for action in AuditAction if not action.value.startswith("token_")}


@dataclass
class Operator:
    """A person at the pages. `did` has the begin of each line that the audit must show, newest first."""

    browser: Browser
    client: Client
    did: list[str]

    def open(self, path: str) -> None:
        """Open a page, signed in."""
        open_as(self.browser, self.client, path)

    def press(self, name: str) -> None:
        """Press the one button with this name."""
        shown(self.browser, "button", f"^{name}$").click()

    def type(self, field: str, text: str) -> None:
        """Replace the text of the one field whose name begins so."""
        shown(self.browser, "textbox", f"^{field}").type(text)

    def note(self, line: str) -> None:
        """Remember what the audit has to show."""
        self.did.insert(0, line)

    def send(self, kind: str = KIND, **fields: object) -> str:
        """Send a job from elsewhere."""
        answer = self.client.call("POST", "/process", {"kind": kind, **fields}, to="intake")
        assert answer.status == 202, answer.raw
        return str(answer.body["id"])

    def failed(self, **fields: object) -> str:
        """Return a job that has failed."""
        job_id = self.send(payload=FAILS, max_attempts=1, **fields)
        assert self.job(job_id, "?wait_s=30")["state"] == State.FAILED
        return job_id

    def job(self, job_id: str, query: str = "") -> dict[str, object]:
        """Return a job as the API tells it."""
        return dict(self.client.call("GET", f"/status/{job_id}{query}").body)

    def becomes(self, job_id: str, **wanted: object) -> None:
        """Wait until the API tells these fields of a job; fail with what it tells, and what the page shows."""
        until(
            self.browser,
            lambda: {name: self.job(job_id).get(name) for name in wanted} == wanted,
            within_s=60,
            what=lambda: f"{wanted} of {self.job(job_id)}",
        )


@pytest.fixture
def operator(stack: TestStack, browser: Browser) -> Operator:
    client = Client(stack, make_token(stack, "submit", "read", "operate", tenant="default", client="ada"))
    return Operator(browser, client, [])


def test_each_act_by_buttons_stands_in_the_audit(operator: Operator) -> None:
    acts_on_jobs(operator)
    acts_on_a_group(operator)
    acts_on_many(operator)
    acts_on_schedules(operator)
    acts_on_callbacks(operator)
    acts_on_kinds_and_workers(operator)
    browser = operator.browser
    operator.open("/audit")
    browser.wait_for(f"document.querySelectorAll('tbody tr').length >= {len(operator.did)}", within_s=60)
    rows = browser.run("return [...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    token_id = id_of(operator.client.token)
    for row, line in zip(rows, operator.did, strict=False):
        said = " ".join(row.split())
        assert line in said, (line, rows)
        assert re.search(rf"\bada\b.* token {token_id}\b", said), said
        assert re.search(r"just now|\d+ (?:s|min) ago", said), said
    # None is missing, and the API has the same ones by the same client.
    entries = operator.client.call("GET", "/audit?page_size=200&client=ada").body["entries"]
    assert len(entries) == len(operator.did)
    assert {entry["action"] for entry in entries} == BY_PEOPLE
    assert {entry["token_id"] for entry in entries} == {token_id}
    assert browser.complaints() == []


def acts_on_jobs(person: Operator) -> None:
    waits = person.send("noop", delay_s=3600)
    person.open(f"/jobs/{waits}")
    person.press("Cancel")
    person.press("Cancel the job")
    person.becomes(waits, state=State.CANCELLED)
    person.note(f"Cancel job …{waits[-8:]}")

    later = person.send("noop", delay_s=3600)
    person.open(f"/jobs/{later}")
    person.press("Run now")
    person.becomes(later, state=State.SUCCEEDED)
    person.note(f"Run job …{later[-8:]} now")

    fails = person.failed()
    person.open(f"/jobs/{fails}")
    person.press("Retry")
    person.becomes(fails, run=2, state=State.FAILED)
    person.note(f"Retry job …{fails[-8:]}")
    says(person.browser, r"run 2")
    person.press("Edit and retry")
    person.type("Payload, as JSON", f'{{"failures": 0, "edited": "{NONCE}"}}')
    person.press("Send it as a new job")
    eventually(lambda: person.job(fails).get("edited_to"), within_s=60, what="the new job is named")
    person.note(f"Retry job …{fails[-8:]} with another payload")
    edited = person.client.call("GET", f"/jobs/{person.job(fails)['edited_to']}").body
    assert edited["payload"] == {"failures": 0, "edited": NONCE}

    done_by_hand = person.failed()
    person.open(f"/jobs/{done_by_hand}")
    person.press("Resolve")
    person.type("Note for other people", f"called them {NONCE}")
    person.press("Resolve")
    person.becomes(done_by_hand, state=State.SUCCEEDED, note=f"called them {NONCE}")
    person.note(f"Resolve job …{done_by_hand[-8:]} as {State.SUCCEEDED} called them {NONCE}")
    person.press("Erase")
    person.press("Erase them")
    eventually(lambda: person.job(done_by_hand).get("erased_at"), within_s=60, what="it is erased")
    person.note(f"Erase payload and result of job …{done_by_hand[-8:]}")


def acts_on_a_group(person: Operator) -> None:
    person.failed()
    groups = eventually(
        lambda: person.client.call("GET", "/attention").body["groups"],
        within_s=CENSUS_WITHIN_S,
        what="the census counts the group",
    )
    (group,) = [one["group"] for one in groups]
    person.open("/attention")
    person.press("Take")
    says(person.browser, "Taken by ada")
    person.note(f"Group of failures {group}: take it")
    person.press("Comment")
    person.type("Comment", f"the vendor is down {NONCE}")
    person.press("Save")
    says(person.browser, f"the vendor is down {NONCE}")
    person.note(f"Group of failures {group}: comment on it the vendor is down {NONCE}")
    person.press("Snooze")
    # The button of the dialog: what is behind it is inert.
    person.press("Snooze")
    eventually(
        lambda: person.client.call("GET", "/attention?snoozed=true").body["groups"], within_s=60, what="it is snoozed"
    )
    person.note(f"Group of failures {group}: snooze it until")


def acts_on_many(person: Operator) -> None:
    batch = f"acts-{NONCE}"
    for _ in range(MANY):
        person.failed(batch=batch)
    person.open(f"/batches/{batch}")
    person.press("Retry the failed jobs")
    # One each ten seconds, so that it can be aborted.
    shown(person.browser, "spinbutton", "^Jobs a second").type("0.1")
    person.type("Reason", f"mended {NONCE}")
    person.press(f"Retry {MANY} jobs")
    says(person.browser, f"Retry of {MANY} jobs")
    person.note(f"Bulk retry of {MANY} jobs where batch: {batch}, state: {State.FAILED} mended {NONCE}")
    person.press("Abort")
    person.press("Abort it")
    action = person.client.call("GET", "/bulk-actions").body["bulk_actions"][0]["id"]
    eventually(
        lambda: person.client.call("GET", f"/bulk-actions/{action}").body["state"] == "aborted",
        within_s=60,
        what="the action is aborted",
    )
    person.note("Abort the bulk retry")


def acts_on_schedules(person: Operator) -> None:
    name = f"acts-{NONCE}"
    person.open("/schedules")
    person.press("New schedule")
    person.type("Name$", name)
    shown(person.browser, "combobox", "^Kind of its jobs").type("noop")
    person.type("Minute, hour", "0 0 1 1 *")
    person.press("Save the schedule")
    says(person.browser, "It has not fired yet")
    person.note(f"Define schedule {name} for jobs of kind noop")
    person.press("Pause")
    person.type("Reason", f"the report is wrong {NONCE}")
    person.press("Pause the schedule")
    says(person.browser, f"by ada: the report is wrong {NONCE}")
    person.note(f"Pause schedule {name} the report is wrong {NONCE}")
    person.press("Resume")
    says(person.browser, "Active")
    person.note(f"Resume schedule {name}")
    person.press("Run now")
    says(person.browser, "by Run now")
    person.note(f"Run schedule {name} now")
    person.press("Backfill")
    person.type("From", "2020-01-01T00:00:00Z")
    person.type("Until", "2021-06-01T00:00:00Z")
    person.press("Start the backfill")
    says(person.browser, "ended: 2 fired, 0 had a job")
    person.note(f"Backfill schedule {name} from 2020-01-01T00:00:00.000Z until 2021-06-01T00:00:00.000Z")
    person.press("Delete")
    person.press("Delete the schedule")
    says(person.browser, "No schedule yet")
    person.note(f"Delete schedule {name}")


def acts_on_callbacks(person: Operator) -> None:
    person.open("/callbacks")
    person.press("Make a secret")
    says(person.browser, "whsec_")
    (secret,) = [one["id"] for one in person.client.call("GET", "/callback-secrets").body["secrets"]]
    person.note(f"Make secret {secret} for callbacks")
    job, delivery = ended_delivery(person.client)
    # By the API, and by the same person.
    person.note(f"Cancel job …{delivery[-8:]}")
    person.open(f"/jobs/{job}")
    person.press("Send job.succeeded of job .* again")
    eventually(
        lambda: len(person.client.call("GET", f"/jobs/{job}/callbacks").body["deliveries"]) > 1,
        within_s=60,
        what="it is sent again",
    )
    person.note(f"Send a callback of job …{job[-8:]} again")
    person.open("/callbacks")
    person.press(f"End {secret}")
    person.press("End the secret")
    says(person.browser, "No secret signs callbacks yet")
    person.note(f"End secret {secret} of callbacks")
    person.press("New endpoint")
    person.type("Name$", "billing")
    person.type("URL", "https://example.com/hook")
    person.press("Save the endpoint")
    person.press("Disable billing")
    person.note("Define callback endpoint billing")
    person.type("Reason", f"it moves {NONCE}")
    person.press("Disable the endpoint")
    person.press("Enable billing")
    person.note(f"Disable callback endpoint billing it moves {NONCE}")
    person.press("Delete billing")
    person.note("Enable callback endpoint billing")
    person.press("Delete the endpoint")
    says(person.browser, "No endpoint yet")
    person.note("Delete callback endpoint billing")


def acts_on_kinds_and_workers(person: Operator) -> None:
    browser = person.browser
    person.open(f"/kinds/{KIND}")
    person.press(f"Pause {KIND}")
    person.type("Reason", f"upgrade {NONCE}")
    person.press("Pause the kind")
    says(browser, f"{KIND} is paused by ada: upgrade {NONCE}")
    person.note(f"Pause kind {KIND} upgrade {NONCE}")
    person.press(f"Resume {KIND}")
    says(browser, "Open: workers start its jobs")
    person.note(f"Resume kind {KIND}")
    person.press(f"Set a limit of {KIND}")
    shown(browser, "spinbutton", "^Running at once").type("20")
    person.type("Reason", f"the vendor allows 20 {NONCE}")
    person.press("Set the limit")
    says(browser, f"{KIND} is limited to 20 running by ada: the vendor allows 20 {NONCE}")
    person.note(f"Limit kind {KIND} to 20 running the vendor allows 20 {NONCE}")
    person.press(f"Remove limit of {KIND}")
    says(browser, "No limit on its running jobs")
    person.note(f"Remove the limit of kind {KIND}, 20 running")
    (before,) = person.client.call("GET", "/workers").body["workers"]
    person.open("/workers")
    person.press("Drain worker-1")
    person.press("Drain the worker")
    until(
        browser,
        lambda: before["instance"] not in str(browser.run("return document.querySelector('main').innerText")),
        within_s=60,
        what=lambda: "the worker has left",
    )
    person.note(f"Drain worker worker-1 ({before['instance']})")
