"""What the worker reports: each transition that was applied, and nothing else; and where it finds gateways."""

from collections.abc import Sequence
from typing import Any

import pytest

from acked_common.background.job_writer import JobWriter
from acked_common.model import interventions, lifecycle
from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.outcomes.outcome import Succeeded
from acked_common.outcomes.outcome_rules import Defaults
from acked_common.runtime.env import Env, SettingsError
from acked_worker.consume.claimed_jobs import claimed_event
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.record.recorder import Recorder
from acked_worker.settings import GatewayUrl, read_settings
from support.factories import ManualClock, again, claimed_job, kind_record, moved, now, owner, queued, running
from support.parts import BOUND_S, ShakyStore


class Bench:
    """A recorder over a store in memory."""

    def __init__(self) -> None:
        self.store = ShakyStore(ManualClock())
        self.events: list[JobEvent] = []
        self.running = InFlightAttempts()
        self.recorder = Recorder(
            self.store,
            JobWriter(self.store, lambda _: None),
            self.running,
            lambda name: kind_record(name, "lane"),
            Defaults(10.0, 3600.0, 86400.0),
            ManualClock(),
            self,
            "worker-7",
        )

    def recorded(self, events: Sequence[JobEvent]) -> None:
        self.events += events

    def room_changed(self, has_room: bool) -> None:
        raise AssertionError("little waits here")

    async def ended(self, *held: InFlight) -> None:
        self.running.add(held)
        self.recorder.record([(one, Succeeded(b"1")) for one in held])
        await self.recorder.wait_recorded(BOUND_S)


async def test_a_claim_is_reported_as_the_store_has_it() -> None:
    store = ShakyStore(ManualClock())
    job = await running(store, by=owner())
    entry = job.history[-1]
    assert claimed_event(claimed_job(job)) == JobEvent(job.id, 2, State.RUNNING, Reason.CLAIMED, 1, entry.at)
    job = await moved(store, job, interventions.request_cancel(at=now()))
    found = claimed_event(claimed_job(job))
    assert (found.rev, found.reason) == (3, Reason.CANCEL_REQUESTED)


async def test_an_applied_outcome_is_reported_with_the_rev_that_it_got() -> None:
    bench = Bench()
    job = await running(bench.store, by=owner())
    await bench.ended(InFlight(claimed_job(job), "lane", 0.0))
    stored = await again(bench.store, job)
    entry = stored.history[-1]
    expected = JobEvent(job.id, stored.rev, State.SUCCEEDED, Reason.COMPLETED, 1, entry.at)
    assert bench.events == [expected]
    assert stored.state is State.SUCCEEDED


async def test_an_outcome_that_came_too_late_is_not_reported() -> None:
    bench = Bench()
    job = await running(bench.store, by=owner())
    await moved(bench.store, job, lifecycle.take_back(at=now(), grace_s=1.0, expires_in_s=60.0))
    await bench.ended(InFlight(claimed_job(job), "lane", 0.0))
    assert bench.events == []


async def test_behind_a_cancel_the_rev_is_the_new_one() -> None:
    bench = Bench()
    job = await running(bench.store, by=owner())
    await bench.store.apply([Move(job.seen, interventions.request_cancel(at=now()))])
    await bench.ended(InFlight(claimed_job(job), "lane", 0.0, cancelling=True))
    assert [(event.rev, event.state) for event in bench.events] == [(4, State.SUCCEEDED)]
    assert await queued(bench.store)


# Settings.


def gateways(**variables: str) -> tuple[GatewayUrl, ...]:
    return read_settings(Env({f"ACKED_{name.upper()}": value for name, value in variables.items()})).gateways.urls


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [("ws", "127.0.0.1", 8080)]),
        ({"gateway_port": "9080"}, [("ws", "127.0.0.1", 9080)]),
        ({"gateway_port": "9080", "host": "0.0.0.0"}, [("ws", "127.0.0.1", 9080)]),
        ({"host": "192.0.2.1"}, [("ws", "192.0.2.1", 8080)]),
        ({"gateway_url": "ws://gateway:8080"}, [("ws", "gateway", 8080)]),
        (
            {"gateway_url": "wss://a.example/, ws://[::1]:81,wss://a.example"},
            [("wss", "a.example", 443), ("ws", "::1", 81)],
        ),
    ],
)
def test_where_gateways_are(variables: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    assert [(url.scheme, url.host, url.port) for url in gateways(**variables)] == expected


def test_the_url_of_a_gateway_is_written_as_a_url() -> None:
    assert GatewayUrl("ws", "gateway", 8080).text == "ws://gateway:8080/ws/worker"
    assert GatewayUrl("wss", "::1", 81).text == "wss://[::1]:81/ws/worker"


@pytest.mark.parametrize(
    "url", ["http://gateway", "gateway:8080", "ws://", "ws://a:99999", "ws://a/x", "ws://u@a", "ws://a?b", "ws://[x"]
)
def test_what_is_no_gateway_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="ACKED_GATEWAY_URL="):
        gateways(gateway_url=url)


def test_a_name_that_no_frame_has_room_for_is_refused() -> None:
    with pytest.raises(SettingsError, match="ACKED_WORKER_NAME"):
        gateways(worker_name="x" * 201)


def test_the_secret_is_not_shown() -> None:
    settings = read_settings(Env({"ACKED_WORKER_SECRET": "s" * 16}))
    assert settings.gateways.secret == "s" * 16
    assert "s" * 16 not in repr(settings)
