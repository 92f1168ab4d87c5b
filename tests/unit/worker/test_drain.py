"""A worker leaves in one order: nothing more is claimed before the rest is waited for, returned and recorded."""

from collections.abc import Callable
from typing import Any

import pytest

from acked_common.outcomes.outcome import InterruptReason
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.drain import CLAIM_WITHIN_S, RECORD_WITHIN_S, close_runners, drain
from support.factories import ManualClock
from support.fields import filled


class Parts:
    """Stands for lanes, runners and recorder; notes what each is asked for, in order."""

    def __init__(self, running: InFlightAttempts, clock: ManualClock) -> None:
        self.order: list[str] = []
        self.waited_s: float | None = None
        self.interrupted: list[tuple[str, InterruptReason]] = []
        self.late: set[str] = set()
        self.claim: Callable[[], None] = lambda: None
        self._running = running
        self._clock = clock

    def drain(self) -> None:
        self.order.append("claim no more")

    async def wait_claimed(self, within_s: float) -> None:
        assert within_s == CLAIM_WITHIN_S
        self.order.append("wait for claims")
        self.claim()
        self._clock.advance(2.0)
        if "claims" in self.late:
            raise TimeoutError

    async def stop(self) -> None:
        self.order.append("stop")

    async def wait_idle(self, timeout_s: float) -> None:
        self.order.append("wait for jobs")
        self.waited_s = timeout_s

    def interrupt(self, held: InFlight, reason: InterruptReason) -> None:
        self.order.append("interrupt")
        self.interrupted.append((held.id, reason))

    async def close(self) -> None:
        self.order.append("close runners")

    async def wait_recorded(self, within_s: float) -> None:
        assert within_s == RECORD_WITHIN_S
        self.order.append("wait for outcomes")
        if "outcomes" in self.late:
            raise TimeoutError


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.running = InFlightAttempts()
        self.parts: Any = Parts(self.running, self.clock)

    def hold(self, *, ended: bool = False) -> InFlight:
        held = InFlight(filled(ClaimedJob), "lane", 0.0, ended=ended)
        self.running.add([held])
        return held

    async def drain(self, within_s: float = 25.0) -> None:
        await drain(self.parts, self.parts, self.running, self.clock, within_s=within_s)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_lanes_stop_before_running_jobs_are_waited_for(bench: Bench) -> None:
    held = bench.hold()
    await bench.drain()
    assert bench.parts.order == ["claim no more", "wait for claims", "stop", "wait for jobs", "interrupt"]
    assert bench.parts.interrupted == [(held.id, InterruptReason.DRAINED)]


async def test_time_for_claims_counts_against_the_drain(bench: Bench) -> None:
    await bench.drain(within_s=25.0)
    assert bench.parts.waited_s == pytest.approx(23.0)
    await bench.drain(within_s=1.0)
    assert bench.parts.waited_s == 0.0


async def test_job_of_a_claim_in_flight_is_interrupted_too(bench: Bench) -> None:
    bench.parts.claim = bench.hold
    await bench.drain()
    assert len(bench.parts.interrupted) == 1


async def test_claim_that_hangs_does_not_keep_the_worker(bench: Bench) -> None:
    bench.parts.late.add("claims")
    await bench.drain()
    assert bench.parts.order[-2:] == ["stop", "wait for jobs"]


async def test_ended_attempt_is_not_interrupted(bench: Bench) -> None:
    bench.hold(ended=True)
    await bench.drain()
    assert bench.parts.interrupted == []


@pytest.mark.parametrize("late", ["nothing", "outcomes"])
async def test_outcomes_are_waited_for_once_all_have_ended(bench: Bench, late: str) -> None:
    bench.parts.late.add(late)
    await close_runners(bench.parts, bench.parts, bench.running)
    assert bench.parts.order == ["close runners", "wait for outcomes", "stop"]
