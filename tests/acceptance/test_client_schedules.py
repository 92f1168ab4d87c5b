"""Schedules and callbacks by the client, blocking and in asyncio, against a running stack."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from acked.kinds.demo import demo
from acked_client import Acked, AsyncAcked, Callback, Handle, ScheduleDefinition, ScheduleHandle, State, problems
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_HTTP_CALL_ALLOW": "127.0.0.1", "ACKED_CALLBACK_RETRIES_S": "0.1"}
WITHIN_S = 60.0


@pytest.fixture
def acked(stack: TestStack) -> Iterator[Acked]:
    with Acked(f"http://localhost:{stack.gateway_port}") as client:
        yield client


@contextmanager
def receiving() -> Iterator[tuple[str, list[tuple[bytes, dict[str, str]]]]]:
    """A receiver: its URL, and the calls that arrived."""
    calls: list[tuple[bytes, dict[str, str]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{nonce()}", calls
        finally:
            server.shutdown()
            thread.join()


def firing_of(schedule: ScheduleHandle, trigger: str) -> Any:
    """The newest firing with this trigger that has started its job."""
    return eventually(
        lambda: next((one for one in schedule.firings() if (one.trigger, one.outcome) == (trigger, "started")), None),
        within_s=WITHIN_S,
        what=f"a firing by {trigger}",
    )


def test_schedule_is_defined_fired_and_deleted(acked: Acked) -> None:
    schedule = acked.schedule("by-client")
    with pytest.raises(problems.NotFound):
        schedule.details()
    definition = ScheduleDefinition(kind=demo, every_s=1, payload={"seconds": 0.01}, tags=[nonce()], overlap="all")
    made = schedule.put(definition)
    assert (made.revision, made.kind, made.payload, made.every_s) == (1, "demo", {"seconds": 0.01}, 1)
    assert schedule.put(definition).revision == 1
    assert "by-client" in {one.name for one in acked.schedules()}
    firing = firing_of(schedule, "schedule")
    assert acked.job(firing.job, demo).result(timeout=WITHIN_S) == {"slept_s": 0.01}
    paused = schedule.pause(reason="a test")
    assert paused.paused is not None and (paused.paused.reason, paused.next_at) == ("a test", None)
    assert len(schedule.next(3).instants) == 3
    asked = schedule.run_now()
    assert asked.trigger == "run_now" and firing_of(schedule, "run_now").at == asked.at
    assert schedule.resume().paused is None
    assert schedule.delete().name == "by-client"
    with pytest.raises(problems.NotFound):
        schedule.run_now()
    refused = ScheduleDefinition(kind="noop", cron="* * * * * *")
    with pytest.raises(problems.InvalidField, match="seconds"):
        schedule.put(refused)


def test_past_instants_are_backfilled(acked: Acked) -> None:
    schedule = acked.schedule("by-client-past")
    schedule.put(ScheduleDefinition(kind="noop", every_s=3600, overlap="all"))
    until = datetime.now(UTC)

    def backfilled(limit: int | None = None) -> Any:
        schedule.backfill(until - timedelta(hours=5), until, limit=limit)
        return eventually(
            lambda: (found := schedule.details().backfill) and found.ended_at and found,
            within_s=WITHIN_S,
            what="an end",
        )

    first, rest, again = backfilled(2), backfilled(), backfilled()
    assert [(one.started, one.present) for one in (first, rest, again)] == [(2, 0), (3, 2), (0, 5)]
    job = acked.job(firing_of(schedule, "backfill").job)
    assert job.wait(timeout=WITHIN_S).state == State.SUCCEEDED
    schedule.delete()


async def test_asyncio_client_has_the_same_schedules(stack: TestStack) -> None:
    async with AsyncAcked(f"http://localhost:{stack.gateway_port}") as acked:
        schedule = acked.schedule("by-asyncio")
        await schedule.put(ScheduleDefinition(kind="noop", cron="@yearly"))
        assert [one.name async for one in acked.schedules() if one.name == "by-asyncio"] == ["by-asyncio"]
        found = await schedule.backfill("2024-06-01T00:00:00Z", "2025-06-01T00:00:00Z")
        assert (found.next_at, found.ended_at) == (datetime(2025, 1, 1, tzinfo=UTC), None)
        assert (await schedule.run_now()).trigger == "run_now"
        assert (await schedule.delete()).name == "by-asyncio"


def deliveries(job: Handle[Any], count: int) -> list[Any]:
    """So many deliveries, once they have ended."""
    return eventually(
        lambda: (found := list(job.callbacks()))[count - 1 :] and all(one.finished_at for one in found) and found,
        within_s=WITHIN_S,
        what=f"{count} deliveries have ended",
    )


def test_callback_is_signed_listed_and_sent_again(acked: Acked) -> None:
    secret = acked.make_callback_secret()
    assert secret.id in {one.id for one in acked.callback_secrets()}
    with receiving() as (url, calls):
        job = acked.submit("noop", callback=Callback(url=url, events=["job.succeeded"]), tags=[nonce()])
        (delivery,) = deliveries(job, 1)
        assert (delivery.state, delivery.event) == (State.SUCCEEDED, "job.succeeded")
        assert [attempt.response.status for attempt in delivery.attempts] == [204]
        resent = job.resend(delivery.id)
        assert resent.webhook_id == delivery.webhook_id
        assert [one.resend for one in deliveries(job, 2)] == [1, 0]
    events = [Webhook(secret.secret).verify(body, headers) for body, headers in calls]
    assert [event["data"]["id"] for event in events] == [job.id] * 2
    assert len({headers["webhook-id"] for _, headers in calls}) == 1
    assert acked.end_callback_secret(secret.id) == []
