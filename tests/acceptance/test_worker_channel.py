"""The worker channel as its users see it: cancels and drains that arrive at once, and gateways that come and go.

Renewals are rare here, so that what comes fast has come over the channel. An async handler has to be stopped within 1 s
of the answer; the tests allow 1.5 s more, for a machine on which much else runs.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from acked_common.accounts.grants import Account
from acked_common.channel import frames
from acked_common.channel.frames import CloseCode, Events, parse_from_gateway
from acked_common.channel.worker_end import hello_of
from acked_common.model.lifecycle import Reason, State
from deploy.native.launch import service_environment
from deploy.native.layout import ROOT
from deploy.native.stack import free_port_base
from support.contract import workers
from support.feed import connected as feed_of
from support.feed import next_frame
from support.stacks import QUICK, TestStack, eventually

ENVIRON = {"ACKED_LEASE_S": "60", "ACKED_RENEWAL_S": "20", "ACKED_DRAIN_S": "1"}
OWN_SERVERS = True
"""A second gateway is started by hand with the account that it has there."""
STOPPED_WITHIN_S = 1.0
BUSY_MACHINE_S = 1.5
SETTLED_WITHIN_S = 15.0


@pytest.fixture(scope="module", autouse=True)
def two_workers(stack: TestStack) -> None:
    stack.stack.scale({"worker": 2})
    eventually(lambda: connected(stack) == 2, within_s=SETTLED_WITHIN_S, what="both workers are connected")


def connected(stack: TestStack) -> float:
    return stack.metric("acked_channel_workers")


def running(stack: TestStack, count: int, seconds: float = 60) -> list[str]:
    """Jobs that run."""
    ids = [stack.process("demo", payload={"seconds": seconds}) for _ in range(count)]
    for job_id in ids:
        eventually(
            lambda job_id=job_id: stack.status(job_id)["state"] == State.RUNNING,  # type: ignore[misc]
            within_s=SETTLED_WITHIN_S,
            what="the job runs",
        )
    return ids


def stopped_within(stack: TestStack, job_id: str, *, to: str = "gateway", port: int | None = None) -> float:
    """Cancels a job; how long after the answer its handler has stopped and its end is recorded."""
    gateway = TestStack(stack.stack)
    gateway.gateway_port = port or stack.gateway_port
    answer = gateway.call("POST", f"/jobs/{job_id}/cancel", to=to)
    assert answer.status == 200, answer.raw
    answered_at = time.monotonic()
    assert answer.body["state"] in (State.RUNNING, State.CANCELLED)
    done = stack.finished(job_id)
    took_s = time.monotonic() - answered_at
    assert (done["state"], done["reason"], done["attempt"]) == (State.CANCELLED, Reason.CANCELLED, 1)
    return took_s


def test_a_cancel_stops_an_async_handler_at_once(stack: TestStack) -> None:
    ids = running(stack, 8)
    # Both workers have some.
    eventually(
        lambda: all(worker.running for worker in workers(stack).values()),
        within_s=SETTLED_WITHIN_S,
        what="both workers run some",
    )
    took = [stopped_within(stack, job_id) for job_id in ids]
    assert max(took) < STOPPED_WITHIN_S + BUSY_MACHINE_S, took


def test_a_second_cancel_changes_nothing(stack: TestStack) -> None:
    (job_id,) = running(stack, 1)
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    done = stack.finished(job_id)
    assert [entry["reason"] for entry in done["history"]].count(Reason.CANCEL_REQUESTED) == 1


@contextmanager
def second_gateway(stack: TestStack) -> Iterator[int]:
    """A gateway that no worker is connected to; its port."""
    layout = stack.stack.layout
    port = free_port_base(near=stack.gateway_port + 20)
    environ = service_environment(
        layout, {"PATH": "/usr/bin:/bin", "ACKED_STACK": str(layout.state), **QUICK}, Account.GATEWAY
    )
    environ = {**environ, **ENVIRON, "ACKED_GATEWAY_PORT": str(port)}
    with (layout.logs / "second-gateway.log").open("wb") as output:
        process = subprocess.Popen(
            [str(layout.venv_python), "-m", "acked_gateway"], cwd=ROOT, env=environ, stdout=output, stderr=output
        )
        try:
            other = TestStack(stack.stack)
            other.gateway_port = port
            eventually(lambda: other.call("GET", "/readyz").status == 200, within_s=60, what="the gateway is ready")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_a_cancel_reaches_the_worker_through_another_gateway(stack: TestStack) -> None:
    with second_gateway(stack) as port:
        ids = running(stack, 4)
        took = [stopped_within(stack, job_id, port=port) for job_id in ids]
    assert max(took) < STOPPED_WITHIN_S + BUSY_MACHINE_S, took
    eventually(
        lambda: stack.metric("acked_commands_total", '{way="bus"}') >= 4,
        within_s=5,
        what="they came over the bus",
    )


def test_a_gateway_that_is_killed_costs_nothing(stack: TestStack) -> None:
    ids = [stack.process("demo", payload={"seconds": 2}) for _ in range(40)]
    (long,) = running(stack, 1)
    stack.stack.parts.kill("gateway-1")
    # Intake knows them too.
    for job_id in ids:
        done = stack.status(job_id, "?wait_s=30", to="intake")
        assert (done["state"], done["attempt"], done["failures"]) == (State.SUCCEEDED, 1, 0)
    eventually(lambda: connected(stack) == 2, within_s=30, what="both workers are connected again")
    assert stopped_within(stack, long) < STOPPED_WITHIN_S + BUSY_MACHINE_S

    def report() -> bool:
        # Where nobody follows they need not: who waits for a status does.
        stack.status(stack.process("noop"), "?wait_s=5")
        return stack.metric("acked_channel_events_total") > 0

    eventually(report, within_s=10, what="they report again")


# Peers that are no workers, or bad ones.


def secret(stack: TestStack) -> str:
    return (stack.stack.layout.secrets / "worker").read_text().strip()


def dial(stack: TestStack, given: str | None) -> ClientConnection:
    headers = {"Authorization": given} if given is not None else {}
    return connect(
        f"ws://127.0.0.1:{stack.gateway_port}{frames.PATH}",
        additional_headers=headers,
        proxy=None,
        compression=None,
        open_timeout=10,
    )


@pytest.mark.parametrize("how", ["none", "wrong", "basic", "empty", "long", "bare"])
def test_without_the_secret_nobody_gets_in(stack: TestStack, how: str) -> None:
    given = {
        "none": None,
        "wrong": "Bearer " + "0" * 40,
        "basic": f"Basic {secret(stack)}",
        "empty": "Bearer ",
        "long": "Bearer " + secret(stack) + "0",
        "bare": secret(stack),
    }[how]
    with pytest.raises(InvalidStatus) as caught:
        dial(stack, given)
    response = caught.value.response
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert b'"/problems/wrong-worker-secret"' in bytes(response.body or b"")
    assert secret(stack).encode() not in bytes(response.body or b"")


def hello(boot: str = "foreign") -> str:
    return frames.encode(hello_of(boot=boot, worker="foreign", kinds=["demo"], version="1", slots=1))


HELLO = hello()
EVENT = '{"id":"0190a5d2-0000-7000-8000-000000000000","rev":2,"state":"%s","reason":"claimed","attempt":1,"at":"%s"}'
BAD_EVENT = EVENT % (State.RUNNING.value, "yesterday")
CASES: dict[str, tuple[Sequence[str | bytes], int]] = {
    "garbage": (["garbage"], CloseCode.BAD_FRAME),
    "garbage behind hello": ([HELLO, "{"], CloseCode.BAD_FRAME),
    "deep": ([HELLO, "[" * 100_000], CloseCode.BAD_FRAME),
    "binary": ([HELLO, b"\x00\xff"], 1003),
    "huge": ([HELLO, "x" * 300_000], 1009),
    "large": ([HELLO, '"' + "x" * 200_000 + '"'], CloseCode.BAD_FRAME),
    "foreign": ([HELLO, '{"type":"subscribe","sub":1}'], CloseCode.UNKNOWN_TYPE),
    "version": (['{"type":"hello","protocol":7}'], CloseCode.UNKNOWN_PROTOCOL),
    "no hello": ([frames.events_frame(1, [], [])], CloseCode.OUT_OF_ORDER),
    "second hello": ([HELLO, HELLO], CloseCode.OUT_OF_ORDER),
    "field": ([HELLO, '{"type":"events","seq":1,"events":[' + BAD_EVENT + "]}"], CloseCode.BAD_FRAME),
    "order": ([HELLO, frames.events_frame(5, [], []), frames.events_frame(9, [], [])], CloseCode.OUT_OF_ORDER),
    "silence": ([], CloseCode.HELLO_TIMEOUT),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_peer_is_sent_away_and_nobody_else_notices(stack: TestStack, case: str) -> None:
    sent, code = CASES[case]
    (job_id,) = running(stack, 1)
    lines = connections(stack)
    with dial(stack, f"Bearer {secret(stack)}") as peer:
        with pytest.raises(ConnectionClosed) as caught:
            for frame in sent:
                peer.send(frame)
            while True:
                peer.recv(timeout=15)
        assert caught.value.rcvd is not None, caught.value
        assert caught.value.rcvd.code == code
    eventually(lambda: connected(stack) == 2, within_s=5, what="both workers are still connected")
    assert connections(stack) == lines, "no worker had to connect again"
    assert stopped_within(stack, job_id) < STOPPED_WITHIN_S + BUSY_MACHINE_S


def connections(stack: TestStack) -> list[str]:
    """The boots that the gateway's log tells were connected."""
    log = (stack.stack.layout.logs / "gateway-1.log").read_text()
    return [line for line in log.splitlines() if '"worker connected"' in line and '"foreign"' not in line]


def test_the_newer_of_two_lines_of_one_worker_wins(stack: TestStack) -> None:
    boot = uuid4().hex
    with dial(stack, f"Bearer {secret(stack)}") as older, dial(stack, f"Bearer {secret(stack)}") as newer:
        older.send(hello(boot))
        older.send(frames.events_frame(1, [], []))
        assert [parse_from_gateway(str(older.recv(timeout=10))) for _ in range(2)][1] == frames.Ack(1)
        newer.send(hello(boot))
        welcome: Any = parse_from_gateway(str(newer.recv(timeout=10)))
        assert welcome.last_seq == 1, "what was taken on the older line counts"
        with pytest.raises(ConnectionClosed) as caught:
            older.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == CloseCode.REPLACED
        newer.send(frames.events_frame(2, [], []))
        assert parse_from_gateway(str(newer.recv(timeout=10))) == frames.Ack(2)


def test_foreign_reports_change_no_job(stack: TestStack) -> None:
    (job_id,) = running(stack, 1)
    with dial(stack, f"Bearer {secret(stack)}") as peer:
        peer.send(hello(uuid4().hex))
        event = (EVENT % (State.SUCCEEDED.value, "2026-01-02T03:04:05Z")).replace(
            "0190a5d2-0000-7000-8000-000000000000", job_id
        )
        sent = frames.events_frame(1, [event.encode()], [])
        assert isinstance(frames.parse_from_worker(sent), Events)
        peer.send(sent)
        assert [parse_from_gateway(str(peer.recv(timeout=10))) for _ in range(2)][1] == frames.Ack(1)
    assert stack.status(job_id)["state"] == State.RUNNING
    assert stopped_within(stack, job_id) < STOPPED_WITHIN_S + BUSY_MACHINE_S


def boot_of(stack: TestStack, worker: str) -> str:
    """The boot that a worker has named to the gateway, from the gateway's log."""
    told = [json.loads(line) for line in connections(stack) if f'"{worker}"' in line]
    return str(told[-1]["boot"])


async def test_feed_forged_reports_of_the_owner_tell_and_hide_nothing(stack: TestStack) -> None:
    boots = await asyncio.to_thread(lambda: [boot_of(stack, name) for name in workers(stack)])
    event = '{"id":"%s","rev":%d,"state":"%s","reason":"completed","attempt":1,"at":"2026-01-02T03:04:05Z"}'
    # Text compares: dated so, it would hide every true progress.
    progress = {"value": 0.9, "message": "forged", "at": "9999-01-01T00:00:00.000Z"}
    batch = uuid4().hex
    async with feed_of(stack) as feed:
        await feed.send(json.dumps({"type": "subscribe", "sub": 1, "scope": {"batch": batch}}))
        await next_frame(feed, "snapshot")
        job_id = await asyncio.to_thread(stack.process, "demo", payload={"seconds": 60}, batch=batch)
        seen: list[Any] = []
        while not seen or seen[-1]["state"] != State.RUNNING:
            # What the gateway has not seen claimed it tells no progress of, forged or not.
            seen += (await next_frame(feed, "events", within_s=30))["events"]
        forged = [event % (job_id, rev, State.SUCCEEDED.value) for rev in (3, 4, 2**40)]
        late = json.dumps({"id": job_id, "attempt": 1, "progress": progress})
        for boot in boots:
            with await asyncio.to_thread(dial, stack, f"Bearer {secret(stack)}") as peer:
                peer.send(hello(boot))
                peer.send(frames.events_frame(1, [one.encode() for one in forged], [late.encode()]))
                assert [parse_from_gateway(str(peer.recv(timeout=10))) for _ in range(2)][1] == frames.Ack(1)
        await asyncio.to_thread(stack.call, "POST", f"/jobs/{job_id}/cancel")
        told: list[Any] = []
        while not told or told[-1]["state"] != State.CANCELLED:
            # The worker may learn of it by its renewal alone: the forged connections have displaced its own.
            told += (await next_frame(feed, "events", within_s=30))["events"]
    assert [(one["rev"], one["reason"]) for one in told] == [(3, Reason.CANCEL_REQUESTED), (4, Reason.CANCELLED)]
    eventually(lambda: connected(stack) == 2, within_s=60, what="the true workers are connected again")


# Drain.


def test_one_worker_is_drained_and_comes_back(stack: TestStack) -> None:
    before = {name: worker.since for name, worker in workers(stack).items()}
    drained, other = sorted(before)
    pid = stack.stack.parts.pid(drained)
    answer = stack.call("POST", f"/workers/{drained}/drain")
    assert (answer.status, answer.body) == (202, {"id": drained, "drain_requested": True})
    eventually(lambda: stack.stack.parts.pid(drained) not in (0, pid), within_s=20, what="a new process has taken over")

    def is_listed_again() -> bool:
        found = workers(stack).get(drained)
        return found is not None and found.since != before[drained]

    eventually(is_listed_again, within_s=20, what="it is listed again")
    assert workers(stack)[other].since == before[other], "the other one works on"
    eventually(lambda: connected(stack) == 2, within_s=SETTLED_WITHIN_S, what="both are connected")
    assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED


def test_an_unknown_worker_cant_be_drained(stack: TestStack) -> None:
    answer = stack.call("POST", "/workers/nobody/drain")
    assert answer.status == 404
    assert answer.body["type"] == "/problems/not-found"
    assert "nobody" in answer.body["detail"]
    assert stack.call("GET", "/workers/nobody/drain").status == 405
