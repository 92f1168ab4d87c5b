"""Who may act, who did what, and what the commands of one job do: two tokens of one tenant, and one of another.

A tester can set `ACKED_TEST_NONCE`; it stands in payloads and notes, so that no canned answer passes.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from websockets.sync.client import connect

from acked_common.accounts.grants import Account
from acked_common.accounts.hand_out import mongo_secret
from acked_common.model.audit import KEPT_DAYS
from acked_common.model.lifecycle import State
from support.access import Client, id_of, make_token, problem_name, recipe, token_of_recipe
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}
OWN_SERVERS = True
"""The accounts of the services are tried."""
NONCE = nonce()
DEFAULT = "default"
NOT_ALLOWED = 13
FAILS_ALWAYS: dict[str, Any] = {"kind": "flaky", "max_attempts": 1}


@dataclass(frozen=True, slots=True)
class Person:
    """A client with its name."""

    name: str
    calls: Client

    @property
    def token_id(self) -> str:
        return id_of(self.calls.token)

    def post(self, path: str, body: Any = None) -> Any:
        """Send a command, which must succeed."""
        response = self.calls.call("POST", path, body)
        assert response.status in (200, 202), response.raw
        return response.body

    def status(self, job_id: str, query: str = "") -> Any:
        response = self.calls.call("GET", f"/status/{job_id}{query}")
        assert response.status == 200, response.raw
        return response.body

    def audit(self, query: str = "") -> list[dict[str, Any]]:
        response = self.calls.call("GET", f"/audit{query}")
        assert response.status == 200, response.raw
        found: list[dict[str, Any]] = response.body["entries"]
        return found

    def failed(self) -> str:
        """A job that has failed, with the nonce in its payload."""
        job_id = self.calls.process(payload={"failures": 1000, "nonce": NONCE}, **FAILS_ALWAYS)
        assert self.status(job_id, "?wait_s=30")["state"] == State.FAILED
        return job_id

    def delayed(self) -> str:
        return self.calls.process("test.echo", delay_s=3600, payload={"nonce": NONCE})


def person(stack: TestStack, name: str, *may: str, tenant: str = DEFAULT) -> Person:
    return Person(name, Client(stack, make_token(stack, *may, tenant=tenant, client=name)))


@contextmanager
def feed_of(who: Person, job_id: str) -> Iterator[Iterator[int]]:
    """The revisions of a job on the feed, from its snapshot on."""
    url = f"ws://127.0.0.1:{who.calls.stack.gateway_port}/ws/feed"
    with connect(url, additional_headers=who.calls.headers, proxy=None, compression=None) as line:
        line.send(json.dumps({"type": "subscribe", "sub": 1, "scope": {"ids": [job_id]}}))

        def revisions() -> Iterator[int]:
            while True:
                frame = json.loads(line.recv(timeout=10))
                yield from (event["rev"] for event in frame.get("jobs", frame.get("events", ())))

        told = revisions()
        next(told)
        yield told


@pytest.fixture(scope="module")
def ada(stack: TestStack) -> Person:
    """May send, read and operate."""
    return person(stack, "ada", "submit", "read", "operate")


@pytest.fixture(scope="module")
def bob(stack: TestStack) -> Person:
    """Of the same tenant, and may only read."""
    return person(stack, "bob", "read")


@pytest.fixture(scope="module")
def eve(stack: TestStack) -> Person:
    """Of another tenant."""
    return person(stack, "eve", "submit", "read", "operate", tenant="globex")


def test_who_may_only_read_is_refused_each_command(ada: Person, bob: Person) -> None:
    job_id = ada.failed()
    before, entries = bob.status(job_id), bob.audit()
    commands: dict[str, Any] = dict.fromkeys(("cancel", "retry", "run-now", "erase"))
    commands |= {"resolve": {"state": "succeeded"}, "edit": {"payload": {"nonce": NONCE}}}
    for command, body in commands.items():
        response = bob.calls.call("POST", f"/jobs/{job_id}/{command}", body)
        assert (response.status, problem_name(response)) == (403, "missing-permission"), command
        assert "operate" in response.body["detail"]
    assert bob.calls.call("POST", "/workers/worker-1/drain").status == 403
    assert bob.status(job_id) == before
    assert bob.audit() == entries, "what was refused is not noted"


def test_bulk_actions_pauses_and_notes_on_groups_are_noted(ada: Person, bob: Person, eve: Person) -> None:
    failed = [ada.failed() for _ in range(3)]
    group = ada.status(failed[0])["error"]["group"]
    acts: dict[str, dict[str, Any]] = {
        "/bulk-actions": {"action": "retry", "ids": failed, "reason": f"mended {NONCE}"},
        "/kinds/test.echo/pause": {"reason": f"upgrade {NONCE}"},
        f"/attention/{group}": {"comment": f"seen {NONCE}"},
    }
    eventually(
        lambda: any(one["group"] == group for one in bob.calls.call("GET", "/attention").body["groups"]),
        within_s=60,
        what="the group needs attention",
    )
    for path, body in acts.items():
        assert bob.calls.call("POST", path, body).status == 403, path
    # Kinds are shared: another tenant's operator pauses none.
    assert eve.calls.call("POST", "/kinds/test.echo/pause", {"reason": NONCE}).status == 403

    ada.post(f"/attention/{group}", acts[f"/attention/{group}"])
    bulk = ada.post("/bulk-actions", acts["/bulk-actions"])
    assert ada.post("/kinds/test.echo/pause", acts["/kinds/test.echo/pause"])["paused"]["client"] == "ada"
    assert ada.post("/kinds/test.echo/resume")["paused"] is None

    found = [(entry["action"], entry["client"], entry["token_id"], entry.get("reason")) for entry in bob.audit()[:4]]
    assert found == [
        ("resume", "ada", ada.token_id, None),
        ("pause", "ada", ada.token_id, f"upgrade {NONCE}"),
        ("bulk", "ada", ada.token_id, f"mended {NONCE}"),
        ("attention", "ada", ada.token_id, f"seen {NONCE}"),
    ]
    noted = bob.audit()[2]
    assert (noted["count"], noted["target"]) == (3, {"bulk": bulk["id"], "action": "retry", "ids": 3})
    assert not any(NONCE in str(entry) for entry in eve.audit())
    done = eventually(
        lambda: (found := ada.calls.call("GET", f"/bulk-actions/{bulk['id']}").body)["state"] == "done" and found,
        within_s=30,
        what="the bulk action has ended",
    )
    assert (done["done"], done["refused"]) == (3, {})
    for job_id in failed:
        (retried,) = [entry for entry in ada.status(job_id)["history"] if entry["reason"] == "retried"]
        assert retried["by"] == {"client": "ada", "token_id": ada.token_id, "via": f"bulk:{bulk['id']}"}


def test_each_act_is_noted_with_client_token_time_and_target(ada: Person, bob: Person, eve: Person) -> None:
    begun_at = datetime.now(UTC)
    retried, resolved, edited, erased = (ada.failed() for _ in range(4))
    cancelled, run_now = ada.delayed(), ada.delayed()

    assert ada.post(f"/jobs/{cancelled}/cancel")["state"] == State.CANCELLED
    assert ada.post(f"/jobs/{retried}/retry")["run"] == 2
    ada.post(f"/jobs/{resolved}/resolve", {"state": "succeeded", "result": NONCE, "note": f"by hand {NONCE}"})
    ada.post(f"/jobs/{run_now}/run-now")
    assert ada.status(run_now, "?wait_s=30")["result"]["payload"] == {"nonce": NONCE}
    made = ada.post(f"/jobs/{edited}/edit", {"payload": {"failures": 0, "nonce": NONCE}})
    ada.post(f"/jobs/{erased}/erase")
    assert ada.post("/workers/worker-1/drain")["drain_requested"] is True

    # Newest first.
    expected: list[tuple[str, dict[str, Any]]] = [
        ("drain", {"worker": "worker-1"}),
        ("erase", {"job": erased}),
        ("edit", {"job": edited, "run": 1}),
        ("run_now", {"job": run_now}),
        ("resolve", {"job": resolved, "state": "succeeded"}),
        ("retry", {"job": retried}),
        ("cancel", {"job": cancelled}),
    ]
    found = bob.audit("?client=ada&page_size=7")
    assert [(entry["action"], entry["target"] | {}) for entry in found[1:]] == expected[1:]
    assert found[0]["action"] == "drain"
    assert found[0]["target"]["worker"] == "worker-1"
    times = [datetime.fromisoformat(entry["at"]) for entry in found]
    assert times == sorted(times, reverse=True)
    # Its clock is MongoDB's, up to a round trip.
    assert (begun_at - times[-1]).total_seconds() < 1
    assert (times[0] - datetime.now(UTC)).total_seconds() < 1
    for entry in found:
        assert (entry["client"], entry["token_id"]) == ("ada", ada.token_id)
    assert found[4]["reason"] == f"by hand {NONCE}"
    # It contains no payload.
    response = bob.calls.call("GET", "/audit?action=edit")
    assert NONCE not in response.raw.decode()

    by = {"client": "ada", "token_id": ada.token_id, "via": "api"}
    for job_id in (cancelled, retried, resolved, run_now, edited, erased):
        history = bob.status(job_id)["history"]
        assert [line["by"] for line in history if "by" in line] == [by], job_id
    assert bob.status(edited)["edited_to"] == made["id"]

    theirs = eve.audit()
    assert all(entry["client"] == "eve" for entry in theirs if not entry["action"].startswith("token_"))
    assert not {entry["id"] for entry in theirs} & {entry["id"] for entry in bob.audit("?page_size=200")}
    # After the drain another worker continues.
    assert bob.status(ada.calls.process("noop"), "?wait_s=60")["state"] == State.SUCCEEDED


def test_a_tenant_sees_its_own_acts_alone(eve: Person, bob: Person) -> None:
    job_id = eve.failed()
    eve.post(f"/jobs/{job_id}/retry")
    newest = eve.audit()[0]
    assert (newest["action"], newest["target"]["job"], newest["client"]) == ("retry", job_id, "eve")
    assert job_id not in bob.calls.call("GET", "/audit?page_size=200").raw.decode()
    assert bob.audit("?client=eve") == []


def test_filters_and_pages_of_the_audit(ada: Person, bob: Person) -> None:
    jobs = [ada.delayed() for _ in range(3)]
    for job_id in jobs:
        ada.post(f"/jobs/{job_id}/cancel")
    found, token = [], ""
    for _ in range(3):
        page = bob.calls.call("GET", f"/audit?action=cancel&client=ada&since=1h&page_size=1&page_token={token}").body
        found += [entry["target"]["job"] for entry in page["entries"]]
        token = page["next_page_token"]
    assert found == jobs[::-1]
    assert bob.audit("?until=1h") == []
    response = bob.calls.call("GET", "/audit?actoin=cancel")
    assert (response.status, problem_name(response)) == (422, "unknown-field")
    assert "did you mean 'action'" in response.body["errors"][0]["detail"]


def test_tokens_that_are_made_and_revoked_are_noted(stack: TestStack, ada: Person) -> None:
    token = token_of_recipe(stack, "read", "submit", tenant=DEFAULT, client="short-lived")
    assert recipe(stack, "revoke", id_of(token)).returncode == 0
    assert recipe(stack, "revoke", id_of(token)).returncode == 0, "a second time changes nothing"
    revoked, made = ada.audit("?client=local&page_size=2")
    target = {"token": id_of(token), "client": "short-lived"}
    assert (revoked["action"], revoked["target"]) == ("token_revoke", target)
    assert (made["action"], made["target"]) == ("token_make", {**target, "may": ["read", "submit"], "replaces": False})
    assert (made["client"], made["token_id"]) == ("local", None)
    assert token not in str(ada.audit("?page_size=200"))


Forbidden = Callable[[Any, Any], object]
CHANGES: dict[str, Forbidden] = {
    "updateOne": lambda audit, entry: audit.update_one({"_id": entry["_id"]}, {"$set": {"client": "nobody"}}),
    "deleteOne": lambda audit, entry: audit.delete_one({"_id": entry["_id"]}),
    "replaceOne": lambda audit, entry: audit.replace_one({"_id": entry["_id"]}, {**entry, "client": "nobody"}),
    "findAndModify": lambda audit, entry: audit.find_one_and_delete({"_id": entry["_id"]}),
    "deleteMany": lambda audit, entry: audit.delete_many({}),
    "drop": lambda audit, entry: audit.database.command("drop", audit.name),
    "rename": lambda audit, entry: audit.rename("elsewhere"),
    "keep it shorter": lambda audit, entry: audit.database.command(
        "collMod", audit.name, index={"name": "kept", "expireAfterSeconds": 1}
    ),
    "out": lambda audit, entry: list(audit.aggregate([{"$limit": 1}, {"$out": audit.name}])),
}


@pytest.mark.parametrize("account", [Account.GATEWAY, Account.INIT])
def test_with_a_services_account_no_entry_can_be_changed(stack: TestStack, ada: Person, account: Account) -> None:
    ada.post(f"/jobs/{ada.delayed()}/cancel")
    layout = stack.stack.layout
    password = (layout.secrets / mongo_secret(account)).read_text().strip()
    member = f"mongodb://127.0.0.1:{layout.ports.mongod}/?directConnection=true"
    with MongoClient[dict[str, Any]](
        member, username=account.value, password=password, authSource="acked", uuidRepresentation="standard"
    ) as client:
        audit = client["acked"]["audit"]
        entry = audit.find_one({"client": "ada"})
        assert entry is not None
        for what, change in CHANGES.items():
            with pytest.raises(OperationFailure) as refused:
                change(audit, entry)
            assert refused.value.code == NOT_ALLOWED, what
        assert audit.find_one({"_id": entry["_id"]}) == entry
        if account is Account.INIT:
            assert audit.index_information()["kept"]["expireAfterSeconds"] == KEPT_DAYS * 86_400


class TestCommands:
    """What the commands of one job do, from outside."""

    def test_a_cancelled_job_is_retried(self, ada: Person) -> None:
        job_id = ada.calls.process("test.echo", delay_s=3600, payload=NONCE)
        ada.post(f"/jobs/{job_id}/cancel")
        assert ada.post(f"/jobs/{job_id}/retry")["state"] == State.QUEUED
        done = ada.status(job_id, "?wait_s=30")
        assert (done["state"], done["run"], done["result"]["payload"]) == (State.SUCCEEDED, 2, NONCE)

    def test_a_job_that_backs_off_runs_now(self, ada: Person) -> None:
        job_id = ada.calls.process("test.later", payload={"after_s": 600})
        waiting = ada.status(job_id, "?wait_s=0")
        while waiting["state"] != State.SCHEDULED:
            waiting = ada.status(job_id, f"?wait_s=10&after_rev={waiting['rev']}")
        ada.post(f"/jobs/{job_id}/run-now")
        done = ada.status(job_id, "?wait_s=30")
        assert (done["state"], done["attempt"]) == (State.SUCCEEDED, 2)
        assert ada.calls.call("POST", f"/jobs/{job_id}/run-now").status == 409

    def test_an_edited_job_runs_with_its_new_payload(self, ada: Person, bob: Person) -> None:
        job_id = ada.failed()
        first = ada.post(f"/jobs/{job_id}/edit", {"payload": {"failures": 0, "nonce": NONCE}})
        assert ada.post(f"/jobs/{job_id}/edit", {"payload": {"nonce": NONCE, "failures": 0}})["id"] == first["id"]
        done = bob.status(first["id"], "?wait_s=30")
        assert (done["state"], done["edited_from"]) == (State.SUCCEEDED, job_id)
        source = bob.status(job_id)
        assert (source["state"], source["reason"], source["edited_to"]) == (State.FAILED, "edited", first["id"])
        response = ada.calls.call("POST", f"/jobs/{job_id}/edit", {"payload": "another"})
        assert (response.status, response.body["edited_to"]) == (409, first["id"])

    def test_a_body_that_means_nothing_is_refused(self, ada: Person) -> None:
        job_id = ada.failed()
        edit = f"/jobs/{job_id}/edit"
        response = ada.calls.call("POST", edit, {"payload": {}, "kind": "noop"})
        assert (response.status, problem_name(response)) == (422, "unknown-field")
        assert ada.calls.call("POST", edit, {}).status == 422
        for command in ("retry", "run-now", "erase", "cancel"):
            response = ada.calls.call("POST", f"/jobs/{job_id}/{command}", {"payload": {"nonce": NONCE}})
            assert (response.status, problem_name(response)) == (422, "unexpected-body"), command

    def test_an_edit_takes_the_permission_to_submit(self, stack: TestStack, ada: Person) -> None:
        carol = person(stack, "carol", "operate", "read")
        response = carol.calls.call("POST", f"/jobs/{ada.failed()}/edit", {"payload": {}})
        assert (response.status, problem_name(response)) == (403, "missing-permission")
        assert "submit" in response.body["detail"]
        dave = person(stack, "dave", "submit")
        response = dave.calls.call("POST", "/process", {"kind": "noop", "edited_from": ada.failed()}, to="intake")
        assert (response.status, problem_name(response)) == (403, "missing-permission")

    def test_an_erased_job_keeps_its_skeleton(self, ada: Person) -> None:
        job_id = ada.failed()
        before = ada.status(job_id)
        with feed_of(ada, job_id) as frames:
            after = ada.post(f"/jobs/{job_id}/erase")
            assert next(rev for rev in frames if rev > before["rev"]) == after["rev"], "the feed shows it"
        shown = ada.calls.call("GET", f"/jobs/{job_id}")
        assert NONCE not in shown.raw.decode()
        assert (shown.body["payload"], shown.body["error"], shown.body["attempts"]) == (None, None, [])
        assert after["history"][:-1] == before["history"]
        # Whoever follows it by a long poll sees it.
        assert ada.status(job_id, f"?wait_s=5&after_rev={before['rev']}")["erased_at"] == after["erased_at"]
        assert ada.post(f"/jobs/{job_id}/erase") == after
        resolution = {"state": "succeeded", "result": NONCE}
        refused: list[tuple[str, Any]] = [("retry", None), ("edit", {"payload": NONCE}), ("resolve", resolution)]
        for command, body in refused:
            response = ada.calls.call("POST", f"/jobs/{job_id}/{command}", body)
            assert (response.status, problem_name(response)) == (409, "wrong-state")
            assert "erased" in response.body["detail"]
        assert ada.calls.call("POST", f"/jobs/{ada.delayed()}/erase").status == 409
