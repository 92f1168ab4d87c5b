"""A renewal covers every held attempt, stops those that lost their lease, and opens the fence as of its send time."""

import asyncio

import pytest

from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.outcomes.outcome import InterruptReason
from acked_common.store.errors import StoreError, StoreUnavailable
from acked_common.store.records import Applied, Lease
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.execute.stall_fence import StallFence
from acked_worker.record.leases import Leases
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, ManualClock, again, insert, kind_record, new_job, owner
from support.parts import BOUND_S, ShakyStore

RENEWAL_S = LEASE_S / 3
TIMES = KindTimes({"demo": kind_record("demo", "demo")}, lease_s=LEASE_S, renewal_s=RENEWAL_S)
BOOT = "boot-1"
LOST, CANCELLED = InterruptReason.LEASE_LOST, InterruptReason.CANCELLED


class Bench:
    """The renewals of one worker over a store in memory; one manual clock stands for all clocks."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.running = InFlightAttempts()
        self.fence = StallFence(lease_s=LEASE_S, renewal_s=RENEWAL_S, clock=self.clock.monotonic)
        self.interrupted: list[tuple[str, InterruptReason]] = []
        self.was_open: list[bool] = []
        """Whether the fence was open at each interruption."""
        self.signalled: list[InFlight] = []
        self.leases = Leases(
            self.store,
            self.running,
            BOOT,
            TIMES,
            self.clock.monotonic,
            self._interrupt,
            self.fence,
            self.signalled.append,
        )

    def _interrupt(self, held: InFlight, reason: InterruptReason) -> None:
        self.interrupted.append((held.id, reason))
        self.was_open.append(self.fence.is_open)

    async def held(self, count: int = 1, *, boot: str = BOOT) -> list[InFlight]:
        """Claimed attempts."""
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        claimed = await self.store.claim(
            [job.id for job in jobs], kinds=["demo"], owner=owner(boot=boot), lease_s=LEASE_S, at=self.clock.now()
        )
        found = [InFlight(job, "demo", self.clock.monotonic()) for job in claimed]
        self.running.add(found)
        return found

    async def take_back(self, held: InFlight) -> None:
        """The sweeper takes the job from its attempt."""
        move = lifecycle.take_back(at=self.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
        assert await self.store.apply([Move((await again(self.store, held.job)).seen, move)]) == [Applied.APPLIED]

    async def claim_again(self, held: InFlight, *, boot: str = BOOT) -> None:
        await self.take_back(held)
        claimed = await self.store.claim(
            [held.job.id], kinds=["demo"], owner=owner(boot=boot), lease_s=LEASE_S, at=self.clock.now()
        )
        assert [job.attempt for job in claimed] == [2]

    async def request_cancel(self, held: InFlight) -> None:
        move = interventions.request_cancel(at=self.clock.now())
        assert await self.store.apply([Move((await again(self.store, held.job)).seen, move)]) == [Applied.APPLIED]

    async def stand_still(self, seconds: float = LEASE_S) -> None:
        """Suspend the whole process, which notices afterwards and closes its fence."""
        self.clock.advance(seconds)
        assert self.fence.beat()
        assert not self.fence.is_open


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr("acked_worker.record.leases.since_boot", made.clock.monotonic)
    return made


async def test_every_held_attempt_is_renewed_in_one_call(bench: Bench) -> None:
    held = await bench.held(3)
    # Its handler has ended, its outcome is not recorded yet: the lease must last until then.
    held[1].ended = True
    bench.clock.advance(RENEWAL_S)
    bench.store.calls.clear()
    await bench.leases.renew()
    assert bench.store.calls == ["renew"]
    wakes = {(await again(bench.store, one.job)).next_check_at for one in held}
    assert {(wake - bench.clock.now()).total_seconds() for wake in wakes if wake} == {LEASE_S}
    assert bench.interrupted == []


async def test_attempt_whose_job_was_taken_back_is_interrupted(bench: Bench) -> None:
    lost, kept = await bench.held(2)
    await bench.take_back(lost)
    await bench.leases.renew()
    assert bench.interrupted == [(lost.id, LOST)]
    assert (await again(bench.store, kept.job)).state is State.RUNNING


@pytest.mark.parametrize("boot", [BOOT, "boot-2"])
async def test_attempt_whose_job_was_claimed_again_is_interrupted(bench: Bench, boot: str) -> None:
    (lost,) = await bench.held()
    await bench.claim_again(lost, boot=boot)
    await bench.leases.renew()
    assert bench.interrupted == [(lost.id, LOST)]


@pytest.mark.parametrize(
    ("attempt", "nonce", "is_lost"), [(1, "own", False), (2, "own", True), (1, "other", True)], ids=str
)
async def test_only_the_same_claim_and_attempt_hold_a_lease(
    bench: Bench, attempt: int, nonce: str, is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held,) = await bench.held()
    found = Lease(held.job.id, attempt, held.nonce if nonce == "own" else "other", 2, cancel_requested=False)

    async def renew(*args: object, **options: object) -> dict[object, Lease]:
        return {held.job.id: found}

    monkeypatch.setattr(bench.store, "renew", renew)
    monkeypatch.setattr(ShakyStore, "VERBS", ShakyStore.VERBS - {"renew"})
    await bench.leases.renew()
    assert bench.interrupted == ([(held.id, LOST)] if is_lost else [])


async def test_renewal_tells_each_new_signal_once(bench: Bench) -> None:
    held, _ = await bench.held(2)
    await bench.leases.renew()
    assert bench.signalled == []
    for signals in (2, 2, 3):
        bench.store._jobs[held.job.id]["signals"] = signals
        await bench.leases.renew()
    assert bench.signalled == [held, held] and bench.interrupted == []


async def test_attempt_that_has_ended_is_not_interrupted(bench: Bench) -> None:
    (held,) = await bench.held()
    held.ended = True
    await bench.take_back(held)
    await bench.leases.renew()
    assert bench.interrupted == []


async def test_attempt_recorded_during_a_renewal_is_not_lost(bench: Bench) -> None:
    (held,) = await bench.held()
    hold = bench.store.holds["renew"] = asyncio.Event()
    renewal = asyncio.create_task(bench.leases.renew())
    await bench.store.until_called("renew")
    done = lifecycle.succeed(at=bench.clock.now(), result=b"1", retention_s=60.0)
    await bench.store.apply([Move(held.job.seen, done)])
    bench.running.remove(held)
    hold.set()
    await renewal
    assert bench.interrupted == []


async def test_attempt_claimed_during_a_renewal_is_not_lost(bench: Bench) -> None:
    await bench.held()
    hold = bench.store.holds["renew"] = asyncio.Event()
    renewal = asyncio.create_task(bench.leases.renew())
    await bench.store.until_called("renew")
    await bench.held()
    hold.set()
    await renewal
    assert bench.interrupted == []


async def test_requested_cancel_interrupts_once(bench: Bench) -> None:
    held, _ = await bench.held(2)
    await bench.request_cancel(held)
    await bench.leases.renew()
    assert (bench.interrupted, held.cancelling) == ([(held.id, CANCELLED)], True)
    await bench.leases.renew()
    assert bench.interrupted == [(held.id, CANCELLED)]


async def test_job_that_is_cancelling_and_lost_is_interrupted_as_lost(bench: Bench) -> None:
    (held,) = await bench.held()
    await bench.request_cancel(held)
    await bench.leases.renew()
    done = lifecycle.end_cancelled(at=bench.clock.now(), retention_s=60.0)
    await bench.store.apply([Move((await again(bench.store, held.job)).seen, done)])
    await bench.leases.renew()
    assert bench.interrupted == [(held.id, CANCELLED), (held.id, LOST)]


async def test_renewal_sent_before_a_pause_does_not_open_the_gate(bench: Bench) -> None:
    await bench.held()
    hold = bench.store.holds["renew"] = asyncio.Event()
    renewal = asyncio.create_task(bench.leases.renew())
    await bench.store.until_called("renew")
    await bench.stand_still()
    hold.set()
    await renewal
    assert not bench.fence.is_open
    await bench.leases.renew()
    assert bench.fence.is_open


async def test_gate_opens_after_lost_attempts_were_interrupted(bench: Bench) -> None:
    lost, _ = await bench.held(2)
    await bench.take_back(lost)
    await bench.stand_still()
    await bench.leases.renew()
    assert (bench.interrupted, bench.was_open) == ([(lost.id, LOST)], [False])
    assert bench.fence.is_open


async def test_failed_renewal_proves_nothing_and_interrupts_nobody(bench: Bench) -> None:
    await bench.held()
    renewed_at = bench.leases.renewed_at
    await bench.stand_still()
    bench.store.failures["renew"] = [StoreUnavailable("away")]
    with pytest.raises(StoreError):
        await bench.leases.renew()
    assert (bench.interrupted, bench.fence.is_open) == ([], False)
    assert (bench.leases.renewed_at, bench.leases.tried_at) == (renewed_at, bench.clock.monotonic())
    bench.clock.advance(1.0)
    await bench.leases.renew()
    assert bench.leases.renewed_at == bench.leases.tried_at == bench.clock.monotonic()


async def test_worker_that_holds_nothing_proves_that_the_store_responds(bench: Bench) -> None:
    await bench.stand_still()
    async with asyncio.timeout(BOUND_S):
        await bench.leases.renew()
    assert bench.store.calls == ["server_time"]
    assert bench.fence.is_open
    bench.store.is_away = True
    await bench.stand_still()
    with pytest.raises(StoreError):
        await bench.leases.renew()
    assert not bench.fence.is_open
