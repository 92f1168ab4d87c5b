"""Each event of an attempt reaches the parts that act on it, in order."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.background.minute_writer import MinuteWriter
from acked_common.channel.frames import Cancel, Drain, JobAttempt, Signalled
from acked_common.model.events import ProgressEvent
from acked_common.outcomes.outcome import NULL, Interrupted, InterruptReason
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.endpoint_notes import EndpointNotes
from acked_worker.record.progress_writer import ProgressWriter
from acked_worker.switchboard import UNRECORDED, Switchboard
from support.factories import ManualClock
from support.fields import filled
from support.parts import ShakyStore

JOB = replace(filled(ClaimedJob), cancel_requested_at=None)
AT = datetime(2026, 1, 2, tzinfo=UTC)


class Part:
    """Notes what it is called with, in an order that all parts share."""

    def __init__(self, name: str, calls: list[tuple[Any, ...]]) -> None:
        self._name = name
        self._calls = calls

    def __getattr__(self, verb: str) -> Any:
        def call(*args: Any) -> None:
            lists = (list(arg) if isinstance(arg, list | tuple) or hasattr(arg, "__next__") else arg for arg in args)
            self._calls.append((self._name, verb, *lists))

        return call


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.running = InFlightAttempts()
        self.stop = asyncio.Event()
        self.calls: list[tuple[Any, ...]] = []
        self.progress = ProgressWriter(self.store, self.running, self.clock)
        self.minutes = MinuteWriter(self.store, self.clock)
        self.switchboard = Switchboard(self.running, self.clock, self.stop, self.minutes)
        names = ("lanes", "ledgers", "runners", "recorder", "reporter")
        parts: dict[str, Any] = {name: Part(name, self.calls) for name in names}
        endpoints = EndpointNotes(self.store.callback_endpoints(), self.clock)
        self.switchboard.connect(progress=self.progress, endpoints=endpoints, **parts)

    def hold(self, **fields: Any) -> InFlight:
        held = InFlight(replace(JOB, **fields), "lane", 0.0)
        self.running.add([held])
        return held

    @property
    def routes(self) -> list[tuple[str, str]]:
        return [(part, verb) for part, verb, *_ in self.calls]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def assignment_of(held: InFlight) -> Assignment:
    return replace(filled(Assignment), id=held.id, attempt=held.job.attempt)


def cancel(held: InFlight) -> Cancel:
    return Cancel([JobAttempt(held.job.id, held.job.attempt)])


def test_a_signal_ends_the_waits_of_a_held_attempt(bench: Bench) -> None:
    held = bench.hold()
    attempt, stale = (JobAttempt(held.job.id, held.job.attempt + number) for number in range(2))
    bench.switchboard.commanded(Signalled([attempt, stale]))
    held.ended = True
    bench.switchboard.commanded(Signalled([attempt]))
    assert bench.calls == [("runners", "signal_came", held)]


def test_claim_is_reported(bench: Bench) -> None:
    bench.switchboard.claimed([bench.hold()], waited_s=0.5)
    assert bench.routes == [("reporter", "report")]


def test_claim_of_a_cancelled_job_is_interrupted(bench: Bench) -> None:
    held = bench.hold(cancel_requested_at=AT)
    bench.switchboard.claimed([held], waited_s=0.5)
    assert bench.calls[1:] == [("runners", "interrupt", held, InterruptReason.CANCELLED)]


def test_late_claim_is_recorded_as_not_started(bench: Bench) -> None:
    held = bench.hold()
    bench.switchboard.late([held])
    assert bench.calls == [("recorder", "record", [(held, Interrupted(InterruptReason.NOT_STARTED))])]


def test_end_frees_the_slot_before_it_is_recorded(bench: Bench) -> None:
    held = bench.hold()
    bench.switchboard.ended([(assignment_of(held), NULL)])
    assert held.ended
    key = [held.id, held.job.attempt]
    assert bench.calls == [
        ("ledgers", "end", key),
        ("lanes", "note_ended", held),
        ("recorder", "record", [(held, NULL)]),
    ]


def test_end_of_an_attempt_that_is_not_held_is_dropped(bench: Bench) -> None:
    held = bench.hold()
    bench.running.remove(held)
    bench.switchboard.ended([(assignment_of(held), NULL)])
    assert bench.calls == [("recorder", "record", [])]


def test_lanes_pause_while_outcomes_wait(bench: Bench) -> None:
    bench.switchboard.room_changed(False)
    bench.switchboard.room_changed(True)
    assert bench.calls == [("lanes", "pause", UNRECORDED), ("lanes", "resume", UNRECORDED)]


def test_cancel_interrupts_once(bench: Bench) -> None:
    held = bench.hold()
    bench.switchboard.commanded(cancel(held))
    bench.switchboard.commanded(cancel(held))
    assert bench.calls == [("runners", "interrupt", held, InterruptReason.CANCELLED)]
    assert held.cancelling


def test_cancel_of_an_ended_attempt_changes_nothing(bench: Bench) -> None:
    held = bench.hold()
    held.ended = True
    bench.switchboard.commanded(cancel(held))
    assert (bench.calls, held.cancelling) == ([], False)


def test_drain_stops_the_worker(bench: Bench) -> None:
    bench.switchboard.commanded(Drain())
    assert bench.stop.is_set()
    assert bench.calls == []


async def test_newest_progress_is_reported_and_written(bench: Bench) -> None:
    held = bench.hold()
    reports = [(held.id, held.job.attempt, {"value": 1.0}), (held.id, held.job.attempt, {"value": 2.0})]
    bench.switchboard.progressed(reports)  # type: ignore[arg-type]
    ((_, verb, events),) = bench.calls
    assert verb == "progress"
    assert all(isinstance(event, ProgressEvent) and event.id == held.job.id for event in events)
    assert len(events) == 2
    assert [report.progress for report in bench.progress._newest.values()] == [events[1].progress]
    await bench.progress.write()
    assert bench.progress._newest == {}


def test_progress_of_an_attempt_that_is_not_held_is_dropped(bench: Bench) -> None:
    bench.switchboard.progressed([("unknown", 1, {"value": 1.0})])
    assert bench.calls == [("reporter", "progress", [])]
