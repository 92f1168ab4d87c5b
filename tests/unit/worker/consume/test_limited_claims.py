"""Claims of limited kinds: what starts, what is held and where from."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from acked_common.model import lifecycle
from acked_common.model.lifecycle import State
from acked_common.model.limits import KindLimit, TakenPlaces, places_for
from acked_common.store.errors import OutcomeUnknown, StoreUnavailable
from acked_common.store.limits import PlacedClaim
from acked_common.store.records import Job
from acked_worker.consume.limited_claims import LimitedClaim
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, RETENTION_S, again, moved, owner
from support.limited_bench import KINDS, Bench
from support.parts import settle


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_jobs_beyond_the_limit_are_held_without_slot_or_message(bench: Bench) -> None:
    await bench.limit(2)
    jobs = await bench.jobs(5)
    delivery = await bench.deliver(jobs)
    assert bench.runs() == [job.id for job in jobs[:2]]
    assert bench.store.held() == [job.id for job in jobs[2:]]
    assert delivery.acknowledged.is_set(), "held jobs occupy no message"
    assert (bench.slots.used, bench.slots.claiming) == (2, 0)
    stored = await again(bench.store, jobs[2])
    assert (stored.state, stored.next_check_at) == (State.QUEUED, stored.expires_at)


async def test_a_freed_place_goes_to_the_oldest_at_once(bench: Bench) -> None:
    await bench.limit(2)
    first, second = await bench.jobs(4), await bench.jobs(2)
    await bench.deliver(second)
    await bench.deliver(first)
    assert bench.runs() == [job.id for job in second], "a limit takes nothing from what runs"
    await bench.end(second[0].id)
    assert bench.runs() == [second[1].id, first[0].id]
    await bench.end(second[1].id, first[0].id)
    assert bench.runs() == [first[1].id, first[2].id]


async def test_a_new_job_does_not_overtake_a_held_one(bench: Bench) -> None:
    await bench.limit(1)
    old, young, younger = await bench.jobs(3)
    await bench.deliver([old, young])
    # The place is free, and this worker has not heard of it.
    held = await again(bench.store, old)
    await moved(bench.store, held, lifecycle.succeed(at=bench.clock.now(), result=b"1", retention_s=RETENTION_S))
    await bench.deliver([younger])
    assert bench.runs() == [old.id, young.id]
    assert bench.store.held() == [younger.id]


async def test_a_full_tenant_delays_neither_others_nor_other_kinds_of_the_lane(bench: Bench) -> None:
    await bench.limit(None, 2)
    many = await bench.jobs(40)
    await bench.deliver(many[:20])
    await bench.deliver(many[20:])
    assert bench.store.running() == {"a": 2}
    others, free = await bench.jobs(2, tenant="b"), await bench.jobs(3, kind="free")
    await bench.deliver([*others, *free])
    assert bench.store.running() == {"a": 2, "b": 2}
    assert bench.store.running("free") == {"a": 3}
    assert bench.slots.used == 7


async def test_a_limit_below_what_runs_stops_nothing_and_starts_nothing_until_below(bench: Bench) -> None:
    await bench.limit(5)
    jobs = await bench.jobs(9)
    await bench.deliver(jobs)
    await bench.limit(2)
    for n in range(3):
        await bench.end(jobs[n].id)
        assert bench.store.running().total() == 4 - n
    await bench.end(jobs[3].id)
    assert bench.store.running().total() == 2
    assert jobs[5].id in bench.runs()


async def test_a_raised_limit_and_a_removed_one_let_held_jobs_start(bench: Bench) -> None:
    await bench.limit(1)
    jobs = await bench.jobs(6)
    await bench.deliver(jobs)
    await bench.limit(3)
    bench.flow.pull()
    await settle()
    assert bench.runs() == [job.id for job in jobs[:3]]
    await bench.limit(None)
    bench.flow.pull()
    await settle()
    assert bench.runs() == [job.id for job in jobs]
    assert bench.store.held() == []


async def test_no_more_jobs_are_claimed_than_slots_are_free() -> None:
    bench = Bench(slots=4)
    await bench.limit(1)
    jobs = await bench.jobs(50)
    for n in range(0, 50, 10):
        await bench.deliver(jobs[n : n + 10])
    await bench.limit(None)
    bench.flow.pull()
    await settle()
    assert len(bench.runs()) == 4
    while bench.runs():
        assert len(bench.runs()) <= 4
        await bench.end(*bench.runs()[:2])
    assert [(await again(bench.store, job)).attempt for job in jobs] == [1] * 50


async def test_a_paused_or_draining_lane_pulls_nothing(bench: Bench) -> None:
    await bench.limit(1)
    jobs = await bench.jobs(3)
    await bench.deliver(jobs)
    await bench.limit(3)
    bench.flow.pause()
    bench.flow.pull()
    await settle()
    assert bench.runs() == [jobs[0].id]
    bench.consumer.confirmed.set()
    bench.flow.resume()
    bench.flow.drain()
    bench.flow.pull()
    await settle()
    assert bench.runs() == [jobs[0].id]


async def test_a_full_kind_costs_a_few_commands_a_second_however_many_wait(bench: Bench) -> None:
    await bench.limit(20, 5)
    jobs = await bench.jobs(1000)
    for n in range(0, 1000, 20):
        await bench.deliver(jobs[n : n + 20])
    assert (bench.store.running(), len(bench.store.held())) == ({"a": 5}, 995)
    bench.store.commands.clear()
    for _ in range(10):
        bench.flow.pull()
        await settle()
    assert bench.store.commands == {"read_places": 10, "queued_jobs": 10, "held_jobs": 10}


async def test_a_kind_whose_places_are_all_taken_is_not_searched(bench: Bench) -> None:
    await bench.limit(3)
    jobs = await bench.jobs(30)
    await bench.deliver(jobs)
    bench.store.commands.clear()
    bench.flow.pull()
    await settle()
    assert bench.store.commands == {"read_places": 1, "queued_jobs": 1}


async def test_without_a_limit_there_is_one_claim_and_nothing_else(bench: Bench) -> None:
    bench.is_limited = False
    jobs = await bench.jobs(3)
    await bench.deliver(jobs)
    bench.flow.pull()
    await bench.end(*(job.id for job in jobs))
    assert bench.store.commands == {"claim": 1}


async def test_claims_after_a_removed_limit_cost_one_command_again(bench: Bench) -> None:
    await bench.limit(2)
    jobs = await bench.jobs(6)
    await bench.deliver(jobs)
    assert (len(bench.runs()), len(bench.store.held())) == (2, 4)
    await bench.limit(None)
    # Held jobs come first, with a bundle or a pull.
    bench.flow.pull()
    await settle()
    assert sorted(bench.runs()) == sorted(job.id for job in jobs)
    bench.flow.pull()
    await settle()
    bench.store.commands.clear()
    more = await bench.jobs(3)
    await bench.deliver(more)
    await bench.end(*(job.id for job in more))
    assert bench.store.commands == {"claim": 1}


async def test_job_that_another_worker_holds_after_the_removal_is_claimed(bench: Bench) -> None:
    await bench.limit(2)
    await bench.limit(None)
    bench.flow.pull()
    await settle()
    (late,) = await bench.jobs(1)
    await bench.store.hold_jobs([late.id])
    bench.flow.pull()
    await settle()
    assert bench.runs() == [late.id]


async def test_limit_that_is_set_again_holds_again(bench: Bench) -> None:
    await bench.limit(2)
    await bench.limit(None)
    bench.flow.pull()
    await settle()
    await bench.limit(1)
    await bench.deliver(await bench.jobs(3))
    assert (len(bench.runs()), len(bench.store.held())) == (1, 2)


async def test_a_job_that_parks_or_is_released_gives_its_place_and_needs_one_again(bench: Bench) -> None:
    await bench.limit(1)
    first, second = await bench.jobs(2)
    await bench.deliver([first, second])
    ended = lifecycle.release(at=bench.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    await moved(bench.store, await again(bench.store, first), ended)
    bench.flow.pull()
    await settle()
    assert bench.store.running().total() == 1
    await bench.deliver([first])
    assert bench.store.held() == [first.id]
    await bench.end(second.id)
    assert (await again(bench.store, first)).attempt == 2


async def test_a_claim_whose_reply_is_lost_is_repeated_as_it_was(bench: Bench) -> None:
    await bench.limit(2)
    jobs = await bench.jobs(3)
    claim = LimitedClaim(bench.store, [job.id for job in jobs], room=3, kinds=KINDS, owner=owner(), lease_s=LEASE_S)
    bench.store.loses_replies = 1
    with pytest.raises(OutcomeUnknown):
        await claim.run(bench.clock.now())
    assert bench.store.running().total() == 2
    # The limit was removed meanwhile; what is claimed is returned all the same.
    await bench.limit(None)
    assert {job.id for job in await claim.run(bench.clock.now())} == {job.id for job in jobs}
    assert claim.newest_queued_at == jobs[2].queued_at


async def test_a_hold_that_fails_delays_no_claimed_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> None:
        raise StoreUnavailable("no server responds")

    await bench.limit(1)
    jobs = await bench.jobs(2)
    monkeypatch.setattr(bench.store, "hold_jobs", refused)
    await bench.deliver(jobs)
    assert bench.runs() == [jobs[0].id]
    assert bench.store.held() == []


async def test_a_worker_that_stood_still_claims_nothing_under_an_old_limit(bench: Bench) -> None:
    await bench.limit(5)
    jobs = await bench.jobs(5)
    places = await bench.store.read_places(["demo"])
    await bench.limit(1)
    bench.clock.advance(6)
    chosen = await _chosen(bench, jobs)
    claim = PlacedClaim(chosen, owner(), LEASE_S, bench.clock.now() - timedelta(seconds=6), places.until_at)
    assert await bench.store.claim_placed(claim) == []


async def _chosen(bench: Bench, jobs: Sequence[Job]) -> Any:
    waiting = await bench.store.queued_jobs([job.id for job in jobs], kinds=["demo"])
    return places_for(KindLimit(5, None, "ann", None, None, bench.clock.now()), TakenPlaces(), waiting)
