"""Signals over HTTP: before, during and after the wait, repeated, refused; steps and signals in lists."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.background.signal_sweeper import SignalAnnouncer
from acked_common.channel.frames import JobAttempt
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.ids import new_id
from acked_common.model.ledger import MAX_SIGNAL_BYTES, MAX_UNREAD, EntryError, PendingSignals
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.store.errors import StoreUnavailable
from acked_common.store.parked import Announced, ResumeOrder
from acked_common.store.records import Job
from acked_gateway.jobs.routes import Reads
from acked_gateway.jobs.signal_routes import signal_routes
from acked_gateway.jobs.signals import Signals, taken_signal
from acked_gateway.workers.command_router import CommandRouter
from support.asgi import Answer, call
from support.factories import MAKERS, ManualClock, again, running
from support.ledgers import entry, ledger_of, opened, opening, write
from support.memory_store import MemoryStore
from support.parts import common_settings, settle
from support.signals import waiting


class Channel:
    """The connections of workers: one process is connected."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Sequence[JobAttempt]]] = []

    def signalled(self, boot: str, jobs: Sequence[JobAttempt]) -> bool:
        self.sent.append((boot, jobs))
        return True


class Store(MemoryStore):
    """May be out of reach when a signal is announced."""

    is_away = False

    async def announce(self, pending: PendingSignals, order: ResumeOrder) -> Announced | None:
        if self.is_away:
            raise StoreUnavailable("announcing a signal: away")
        return await super().announce(pending, order)


class Bench:
    """The routes over parts in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.ledgers = self.store.ledgers()
        self.offered: list[QueuedJob] = []
        self.channel = Channel()
        self.principal = Principal("default", "shop", frozenset(Permission))
        announcer = SignalAnnouncer(
            JobWriter(self.store, self.offered.extend), self.ledgers, self.clock, common_settings().times
        )
        router = CommandRouter(self.channel)  # type: ignore[arg-type] - of its channel, signals alone are sent
        self.signals = Signals(self.store, self.ledgers, announcer, router, self.clock)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        self.app = Starlette(
            routes=[*signal_routes(self.signals, self.store, self.ledgers, reads)],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, SCOPE_KEY: self.principal}, receive, send)

    async def send(self, job: Job | UUID, name: str = "paid", body: bytes = b"100", key: str | None = None) -> Answer:
        headers: Mapping[str, str] = {} if key is None else {"Idempotency-Key": key}
        job_id = job if isinstance(job, UUID) else job.id
        answer = await call(self.serve, "POST", f"/jobs/{job_id}/signals/{name}", body, headers=headers)
        await settle()
        return answer

    async def get(self, path: str) -> Any:
        answer = await call(self.serve, "GET", path)
        assert answer.status == 200, answer.json
        return answer.json


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.signals.stop()


async def test_a_signal_wakes_the_job_that_waits(bench: Bench) -> None:
    job = await waiting(bench.store, "paid")
    answer = await bench.send(job, key="k1")
    assert (answer.status, answer.json) == (202, {"id": "k1", "job": str(job.id), "name": "paid", "seq": 1})
    woken = await again(bench.store, job)
    assert (woken.state, woken.reason) == (State.QUEUED, Reason.SIGNALLED)
    assert [queued[0] for queued in bench.offered] == [job.id]
    ledger = await ledger_of(bench.ledgers, job.id)
    assert ledger.pending is None
    (signal,) = ledger.inbox
    assert (signal.id, signal.value, signal.by, signal.at) == ("k1", b"100", "shop", bench.clock.now())


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RUNNING])
async def test_a_signal_before_the_wait_is_in_the_inbox(bench: Bench, state: State) -> None:
    job = await MAKERS[state](bench.store)
    answer = await bench.send(job)
    assert answer.status == 202 and answer.json["seq"] == 1 and UUID(answer.json["id"])
    assert (await again(bench.store, job)).signals == 1
    assert [one.name for one in (await ledger_of(bench.ledgers, job.id)).inbox] == ["paid"]
    assert bench.offered == []


async def test_the_worker_of_a_running_attempt_is_told(bench: Bench) -> None:
    job = await running(bench.store)
    await bench.send(job)
    assert job.owner is not None
    assert bench.channel.sent == [(job.owner.boot, [JobAttempt(job.id, job.attempt)])]


async def test_a_repeated_signal_gets_the_first_response(bench: Bench) -> None:
    job = await running(bench.store)
    first = await bench.send(job, body=b'{"a": 1, "b": [2.0]}', key="k1")
    again_ = await bench.send(job, body=b'{"b":[2.0],"a":1}', key="k1")
    assert (first.status, again_.status, again_.json) == (202, 200, first.json)
    assert again_.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert len((await ledger_of(bench.ledgers, job.id)).inbox) == 1


@pytest.mark.parametrize(("name", "body"), [("paid", b"101"), ("paid", b"100.0"), ("paid", b'"100"'), ("late", b"100")])
async def test_another_signal_of_the_same_id_is_refused(bench: Bench, name: str, body: bytes) -> None:
    job = await running(bench.store)
    await bench.send(job, key="k1")
    answer = await bench.send(job, name, body, key="k1")
    assert (answer.status, answer.json["type"]) == (422, "/problems/idempotency-key-reused")
    assert answer.json["id"] == str(job.id)


async def take(bench: Bench, job: Job, signal_id: str, **fields: Any) -> None:
    """Take a signal out of the inbox, as an attempt does."""
    ledger = await opened(bench.ledgers, opening(job.id, tenant=job.tenant))
    (signal,) = [one for one in ledger.inbox if one.id == signal_id]
    value = {"id": signal.id, "name": signal.name, "value": json.loads(signal.value), "at": signal.at.isoformat()}
    value |= {"by": signal.by, "seq": signal.seq}
    made = entry(call="wait", name="paid", value=json.dumps(fields.get("wrap", lambda v: v)(value)).encode())
    assert await bench.ledgers.write_entries([write(job.id, 1, made, takes=signal_id)]) == [made]


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"branch": "b", "signal": value}])
async def test_a_signal_that_was_taken_is_known_after_the_end(bench: Bench, wrap: Any) -> None:
    job = await running(bench.store)
    first = await bench.send(job, body=b'{"a":1}', key="k1")
    await take(bench, job, "k1", wrap=wrap)
    assert (await bench.send(job, body=b'{"a":1}', key="k1")).json == first.json
    bench.store._jobs[job.id]["state"] = State.SUCCEEDED.value
    after = await bench.send(job, body=b'{"a":1}', key="k1")
    assert (after.status, after.json) == (200, first.json)
    assert (await bench.send(job, body=b'{"a":2}', key="k1")).status == 422
    assert (await bench.send(job, body=b'{"a":1}', key="k2")).json["type"] == "/problems/wrong-state"


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
async def test_an_ended_job_receives_no_signals(bench: Bench, state: State) -> None:
    job = await MAKERS[state](bench.store)
    answer = await bench.send(job)
    assert (answer.status, answer.json["type"], answer.json["state"]) == (409, "/problems/wrong-state", state)
    assert await bench.ledgers.read_ledger(job.id, tenant=job.tenant) is None


async def test_a_full_inbox_refuses(bench: Bench) -> None:
    job = await running(bench.store)
    for number in range(MAX_UNREAD):
        await bench.send(job, key=f"k{number}")
    answer = await bench.send(job, key="more")
    assert (answer.status, answer.json["type"]) == (409, "/problems/inbox-full")
    assert (await bench.send(job, key="k3")).status == 200


async def test_jobs_of_others_do_not_exist(bench: Bench) -> None:
    job = await running(bench.store)
    assert (await bench.send(new_id())).status == 404
    bench.principal = Principal("acme", "eve", frozenset(Permission))
    assert (await bench.send(job)).status == 404
    for what in ("signals", "steps"):
        assert (await call(bench.serve, "GET", f"/jobs/{job.id}/{what}")).status == 404
    assert await bench.ledgers.read_ledger(job.id, tenant=job.tenant) is None


@pytest.mark.parametrize(
    ("name", "body", "status", "problem"),
    [
        ("Paid", b"1", 422, "invalid-field"),
        ("x" * 65, b"1", 422, "invalid-field"),
        ("paid", b"", 400, "bad-json"),
        ("paid", b"{", 400, "bad-json"),
        ("paid", b'{"a":1,"a":2}', 400, "duplicate-key"),
        ("paid", b"1" * 20, 400, "bad-number"),
        ("paid", b'"' + b"x" * MAX_SIGNAL_BYTES + b'"', 413, "body-too-large"),
    ],
)
async def test_a_request_that_is_wrong_is_refused(
    bench: Bench, name: str, body: bytes, status: int, problem: str
) -> None:
    job = await running(bench.store)
    answer = await bench.send(job, name, body)
    assert (answer.status, answer.json["type"]) == (status, f"/problems/{problem}")
    assert await bench.ledgers.read_ledger(job.id, tenant=job.tenant) is None


async def test_the_largest_signal_is_taken(bench: Bench) -> None:
    job = await running(bench.store)
    body = b'"' + b"x" * (MAX_SIGNAL_BYTES - 2) + b'"'
    assert (await bench.send(job, body=body)).status == 202
    (signal,) = (await ledger_of(bench.ledgers, job.id)).inbox
    assert signal.value == body


async def test_a_signal_that_was_not_announced_is_stored_all_the_same(bench: Bench) -> None:
    job = await waiting(bench.store, "paid")
    bench.store.is_away = True
    assert (await bench.send(job, key="k1")).status == 202
    assert (await ledger_of(bench.ledgers, job.id)).pending == 1
    assert (await again(bench.store, job)).state is State.WAITING
    bench.store.is_away = False
    # The repetition of its sender announces it, before the sweeper does.
    assert (await bench.send(job, key="k1")).status == 200
    assert (await again(bench.store, job)).state is State.QUEUED
    assert (await ledger_of(bench.ledgers, job.id)).pending is None


async def test_signals_are_listed_without_their_values(bench: Bench) -> None:
    job = await running(bench.store)
    assert await bench.get(f"/jobs/{job.id}/signals") == {"received": 0, "unread": [], "taken": []}
    for number in range(3):
        await bench.send(job, key=f"k{number}")
    await take(bench, job, "k1")
    listed = await bench.get(f"/jobs/{job.id}/signals")
    at = listed["unread"][0]["at"]
    assert listed["received"] == 3
    assert listed["unread"] == [
        {"id": f"k{number}", "name": "paid", "seq": number + 1, "at": at, "by": "shop"} for number in (0, 2)
    ]
    (taken,) = listed["taken"]
    assert (taken["id"], taken["seq"], taken["taken_by"]) == ("k1", 2, "paid")


async def test_steps_are_listed_in_pages_without_their_values(bench: Bench) -> None:
    job = await running(bench.store)
    assert await bench.get(f"/jobs/{job.id}/steps") == {"steps": [], "next_page_token": ""}
    await opened(bench.ledgers, opening(job.id, tenant=job.tenant))
    made = [
        entry(1, name="quote", value=b'"secret"', took_s=1.25, key='{"a": 1}'),
        entry(2, name="hold", value=None, error=EntryError("Declined", "no money"), tries=3),
        entry(3, name="rest", call="sleep", value=None, due_at=bench.clock.now()),
        entry(4, name="paid", call="wait", value=None, is_open=True),
        entry(5, name="late", call="wait", value=None, timed_out=True),
        entry(6, name="gone", value=None, cancelled=True),
    ]
    await bench.ledgers.write_entries([write(job.id, one.seq, one) for one in made])
    first = await bench.get(f"/jobs/{job.id}/steps?page_size=4")
    second = await bench.get(f"/jobs/{job.id}/steps?page_size=4&page_token={first['next_page_token']}")
    assert second["next_page_token"] == ""
    steps = first["steps"] + second["steps"]
    assert [one["name"] for one in steps] == ["quote", "hold", "rest", "paid", "late", "gone"]
    assert [one["state"] for one in steps] == ["kept", "failed", "kept", "open", "timed_out", "cancelled"]
    assert (steps[0]["key"], steps[0]["took_s"], steps[1]["key"]) == ({"a": 1}, 1.25, None)
    assert steps[1]["error"] == {"type": "Declined", "message": "no money"} and "error" not in steps[0]
    assert "secret" not in json.dumps(steps)
    other = await running(bench.store)
    answer = await call(bench.serve, "GET", f"/jobs/{other.id}/steps?page_token={first['next_page_token']}")
    assert (answer.status, answer.json["type"]) == (422, "/problems/invalid-field")


@pytest.mark.parametrize("value", [None, b"1", b"null", b'{"branch":"late","signal":null}', b'{"id":"a"}', b"[1]"])
def test_a_value_without_a_signal_has_none(value: bytes | None) -> None:
    assert taken_signal(value) is None


async def test_an_id_whose_entry_is_gone_is_known(bench: Bench) -> None:
    job = await running(bench.store)
    await bench.send(job, key="k1")
    await take(bench, job, "k1")
    bench.ledgers._ledgers[job.id] = replace(bench.ledgers._ledgers[job.id], entries={})  # type: ignore[attr-defined]
    answer = await bench.send(job, key="k1")
    assert (answer.status, answer.json["seq"]) == (200, None)
