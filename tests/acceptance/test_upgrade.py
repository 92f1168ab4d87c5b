"""From the version before to this one, and back, under load: nothing is refused, lost or doubled, old data stays.

The way is the one of README.md ("Upgrade"): the new code into the same checkout, then `./just restart`.
`support/upgrades.py` says which version is the one before, and which steps are possible between the two.
"""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from deploy.native.layout import Ports
from deploy.native.ports import free_port_base
from deploy.native.processes import end_processes
from deploy.native.stack import Stack
from support.load import Load
from support.stacks import Answer, TestStack, eventually, never_orphaned
from support.upgrades import Checkout, NoVersionBefore, compatibility_of, version_before

pytestmark = pytest.mark.alone

SETTINGS = {"ACKED_ACCESS": "tokens", "ACKED_WORKER_SLOTS": "20", "ACKED_DRAIN_S": "10"}
"""Few slots, so that jobs wait while the version changes."""
WAITING = 100
LOAD_BATCH = "while-upgrading"
BODIES = [
    {"kind": "noop", "payload": {"n": 1}, "batch": LOAD_BATCH},
    {"kind": "noop", "batch": LOAD_BATCH, "tags": ["b"]},
]
REPLAYED = 100
LOOKED_AT = 500
"""Of the load; all are counted."""


class Client:
    """A client with a token, and what it knows of the jobs that it sent to the version before."""

    def __init__(self, stack: TestStack, token: str) -> None:
        self.headers = {"Authorization": f"Bearer {token}"}
        self._stack = stack
        self.ended: dict[str, Any] = {}
        self.waiting: list[str] = []
        self.failed: list[str] = []
        self.due_soon, self.due_late = "", ""
        self.keyed: dict[str, dict[str, Any]] = {}
        """Bodies by key; what was answered is in `ids`."""
        self.ids: dict[str, str] = {}

    def call(self, method: str, path: str, body: Any = None, *, to: str = "gateway", key: str | None = None) -> Answer:
        headers = self.headers if key is None else {**self.headers, "Idempotency-Key": key}
        return self._stack.call(method, path, body, to=to, headers=headers)

    def process(self, kind: str, *, key: str | None = None, **fields: Any) -> str:
        answer = self.call("POST", "/process", {"kind": kind, **fields}, to="intake", key=key)
        assert answer.status == 202, answer.raw
        return str(answer.body["id"])

    def job(self, job_id: str) -> Any:
        answer = self.call("GET", f"/jobs/{job_id}")
        assert answer.status == 200, answer.raw
        return answer.body

    def ended_job(self, job_id: str) -> Any:
        found = self.call("GET", f"/status/{job_id}?wait_s=30").body
        assert found["finished_at"] is not None, found
        return self.job(job_id)

    def states(self, batch: str) -> dict[str, int]:
        answer = self.call("GET", f"/batches/{batch}")
        return dict(answer.body["states"]) if answer.status == 200 else {}

    def leave_data(self) -> None:
        """Jobs of every kind of state: ended ones, one that fails, scheduled ones, ones that wait, ones with keys."""
        done = [self.process("noop", payload={"é": [1, 2.5, None]}, batch="old", tags=["x", "y"]) for _ in range(5)]
        self.failed = [self.process("flaky", payload={"failures": 9}, max_attempts=1, batch="old") for _ in range(2)]
        cancelled = self.process("noop", delay_s=3600, batch="old")
        assert self.call("POST", f"/jobs/{cancelled}/cancel").status == 200
        self.ended = {job_id: self.ended_job(job_id) for job_id in [*done, *self.failed, cancelled]}
        assert [self.ended[job_id]["state"] for job_id in self.failed] == [State.FAILED] * 2
        self.keyed = {
            "plain": {"kind": "noop"},
            "all": {
                "kind": "noop",
                "payload": {"b": [1, 2.5], "a": "é"},
                "delay_s": 0.5,
                "batch": "keyed",
                "tags": ["y", "x"],
                "max_attempts": 3,
                "timeout_s": 30,
                "expires_in_s": 3600,
            },
        }
        self.ids = {key: self.process(key=key, **body) for key, body in self.keyed.items()}
        self.due_soon, self.due_late = self.process("noop", delay_s=12), self.process("noop", delay_s=3600)
        self.waiting = [self.process("demo", payload={"seconds": 1}, batch="waiting") for _ in range(WAITING)]

    def find_data(self) -> None:
        """What the version before has left is readable, and unchanged where it had ended."""
        for job_id, before in self.ended.items():
            assert before.items() <= self.job(job_id).items()
        listed = self.call("GET", "/jobs?batch=old&page_size=100").body["jobs"]
        assert {job["id"] for job in listed} == self.ended.keys()
        for key, body in self.keyed.items():
            assert self.process(key=key, **body) == self.ids[key], f"the key {key!r} is another request's now"
        assert self.job(self.due_late)["state"] == State.SCHEDULED


@pytest.fixture
def before() -> str:
    """The commit of the version before."""
    try:
        return version_before()
    except NoVersionBefore as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    """An empty checkout. Not among the folders that pytest keeps: it holds an environment and servers."""
    with tempfile.TemporaryDirectory(prefix="acked-upgrade-") as folder:
        made = Checkout(Path(folder).resolve(), Ports(free_port_base()), SETTINGS)
        with never_orphaned(made.layout):
            yield made
            end_processes(Stack(made.layout).parts.processes(), signal.SIGKILL)
            made.layout.socket.unlink(missing_ok=True)


def client_of(checkout: Checkout) -> Client:
    """A client with a token that the version before has made."""
    printed = checkout.just("token", "make", "--client", "upgrade", "--may", "submit,read,operate")
    (token,) = set(re.findall(r"acked_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", printed))
    return Client(TestStack(Stack(checkout.layout)), token)


def spread(ids: list[str], count: int) -> list[str]:
    """About so many of the ids, from the first to the last."""
    return ids[:: max(1, len(ids) // count)]


def send_again(client: Client, load: Load) -> None:
    """Requests that were accepted while the version changed are known by their keys, whoever accepted them."""
    for job_id in spread(list(load.keys), REPLAYED):
        body = BODIES[load.accepted[job_id]]
        answer = client.call("POST", "/process", body, to="intake", key=load.keys[job_id])
        assert (answer.status, answer.body["id"]) == (202, job_id), answer.raw
        assert answer.headers["idempotency-replayed"] == "true"


def end_of(client: Client, job_id: str) -> tuple[str, int]:
    """The state of a job, and how often it has ended."""
    job = client.job(job_id)
    return job["state"], sum(State(entry["state"]).is_terminal for entry in job["history"])


async def test_upgrade_under_load_loses_refuses_and_doubles_nothing(before: str, checkout: Checkout) -> None:
    checkout.take_fetched()
    checkout.use_commit(before)
    await asyncio.to_thread(checkout.just, "up")
    old = compatibility_of(checkout.folder)
    client = await asyncio.to_thread(client_of, checkout)
    await asyncio.to_thread(client.leave_data)

    checkout.use_present()
    new = compatibility_of(checkout.folder)
    loads = []
    if old.can_roll_to(new):
        url = f"http://127.0.0.1:{client._stack.intake_port}/process"
        shape: dict[str, Any] = {"busy": 2, "fresh": 2, "seldom": 6, "pause_s": 0.1}
        async with Load(url, BODIES, headers=client.headers, with_keys=True, **shape) as load:
            loads.append(load)
            # One service after the other: meanwhile each works beside the others' version before.
            await asyncio.to_thread(checkout.just, "restart")
            await asyncio.to_thread(client.find_data)
            if old.can_come_back_from(new):
                checkout.use_commit(before)
                await asyncio.to_thread(checkout.just, "restart")
                await asyncio.to_thread(client.find_data)
        assert load.failures == []
        assert len(load.accepted) > 200
        await asyncio.to_thread(send_again, client, load)

    # The folder that the version before has used last, or this one, opens anew.
    await asyncio.to_thread(checkout.just, "down")
    checkout.use_present()
    await asyncio.to_thread(checkout.just, "up")
    await asyncio.to_thread(client.find_data)
    await asyncio.to_thread(check_ends, client, loads)


def check_ends(client: Client, loads: list[Load]) -> None:
    """All jobs end, each once; those of the version before can be moved by hand."""
    eventually(
        lambda: client.states("waiting") == {State.SUCCEEDED: WAITING}, within_s=60, what="those that waited end"
    )
    assert client.ended_job(client.due_soon)["state"] == State.SUCCEEDED
    assert client.call("POST", f"/jobs/{client.due_late}/cancel").body["state"] == State.CANCELLED
    retried, resolved = client.failed
    assert client.call("POST", f"/jobs/{retried}/retry").status == 200
    again = client.ended_job(retried)
    assert (again["state"], again["run"]) == (State.FAILED, 2)
    assert client.call("POST", f"/jobs/{resolved}/resolve", {"state": "succeeded", "result": 1}).status == 200
    for load in loads:
        accepted = len(load.accepted)
        # As many as were accepted: none is missing, and no request became two jobs.
        eventually(
            lambda accepted=accepted: client.states(LOAD_BATCH) == {State.SUCCEEDED: accepted},
            within_s=60,
            what=f"all {accepted} jobs of the load end, and there are no more",
        )
        with ThreadPoolExecutor(8) as pool:
            looked_at = [*spread(list(load.accepted), LOOKED_AT), *client.waiting]
            ends = set(pool.map(lambda job_id: end_of(client, job_id), looked_at))
        assert ends == {(State.SUCCEEDED, 1)}
