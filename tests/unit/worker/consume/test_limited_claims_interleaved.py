"""Many workers claim jobs of one limited kind at once: whatever comes in between, no limit is exceeded, and all run."""

import asyncio
import random
from typing import Any

import pytest

from acked_common.model import lifecycle
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move, State
from acked_worker.consume.limited_claims import LimitedClaim
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, RETENTION_S, again, owner
from support.lane_bench import Delivery
from support.limited_bench import KINDS, Bench
from support.parts import settle


@pytest.mark.parametrize("seed", range(40))
async def test_many_workers_that_die_and_come_late_exceed_no_limit(seed: int) -> None:
    """Workers claim bundles and pull at once; attempts end, lose leases and are redelivered; claims are cut short."""
    chance = random.Random(seed)
    first = Bench(slots=6)
    workers = [first, *(Bench(slots=6, beside=first) for _ in range(3))]
    store = first.store
    most, per_tenant = chance.randrange(2, 7), chance.choice([None, 1, 2])
    await first.limit(most, per_tenant)
    jobs = [job for tenant in "abc" for job in await first.jobs(chance.randrange(3, 12), tenant=tenant)]
    store.chance = chance
    bundles = [jobs[n : n + 4] for n in range(0, len(jobs), 4)]
    chance.shuffle(bundles)
    cut: list[asyncio.Task[Any]] = []

    def check() -> None:
        running = store.running()
        assert running.total() <= most, "more run than the limit allows"
        assert per_tenant is None or max(running.values(), default=0) <= per_tenant

    for _ in range(4000):
        check()
        worker = chance.choice(workers)
        match chance.randrange(7):
            case 0 if bundles:
                bundle = bundles.pop()
                worker.flow.on_delivery(Delivery(Bundle("demo", first.clock.now(), tuple(j.id for j in bundle)), []))  # type: ignore[arg-type]
            case 1:
                worker.flow.pull()
            case 2 if worker.running.all():
                held = chance.choice(worker.running.all())
                worker.flow.note_ended(held)
                worker.running.remove(held)
                ended = lifecycle.succeed(at=first.clock.now(), result=b"1", retention_s=RETENTION_S)
                await store.apply([Move(held.job.seen, ended)])
                if worker.flow.note_recorded([held.job.id]):
                    worker.flow.pull()
            case 3 if worker.running.all() and chance.random() < 0.3:
                # Its lease is lost: the sweeper queues it again and publishes it.
                held = chance.choice(worker.running.all())
                worker.flow.note_ended(held)
                worker.running.remove(held)
                back = lifecycle.take_back(at=first.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
                await store.apply([Move(held.job.seen, back)])
                bundles.append([await again(store, held.job)])
            case 4 if chance.random() < 0.2:
                # A worker dies in the middle of a claim, whose bundle is delivered again.
                lost = chance.sample(jobs, 2)
                dying = LimitedClaim(
                    store, [job.id for job in lost], room=2, kinds=KINDS, owner=owner(), lease_s=LEASE_S
                )
                cut.append(asyncio.create_task(dying.run(first.clock.now())))
                bundles.append(lost)
            case 5 if cut:
                cut.pop().cancel()
            case _:
                await asyncio.sleep(0)
        first.clock.advance(0.01)
    for one in cut:
        one.cancel()
    store.chance = None
    for _ in range(300):
        await settle()
        check()
        found = (await store.get_many([job.id for job in jobs])).values()
        if all(job.state is State.SUCCEEDED for job in found):
            break
        for job in found:
            held_by_workers = {job_id for worker in workers for job_id in worker.runs()}
            if job.state is State.RUNNING and job.id not in held_by_workers:
                back = lifecycle.take_back(at=first.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
                await store.apply([Move(job.seen, back)])
                bundles.append([job])
        if bundles:
            await workers[0].deliver(bundles.pop())
        for worker in workers:
            await worker.end(*worker.runs())
            worker.flow.pull()
    else:
        raise AssertionError("jobs are left")
