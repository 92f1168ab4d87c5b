"""Signals on both stores: their announcement to jobs in each state, and those whose senders died."""

import asyncio
from dataclasses import replace as replace_lease
from datetime import timedelta

import pytest
from msgspec.structs import replace

from acked_common.model import interventions, lifecycle, lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.model.lifecycle_waits import ANY_SIGNAL, MOST_NAMES, Waits
from acked_common.store.records import Applied
from support.factories import (
    EXPIRES_IN_S,
    GRACE_S,
    LEASE_S,
    MAKERS,
    RETENTION_S,
    again,
    moved,
    now,
    owner,
    running,
)
from support.ledgers import ledger_of, push
from support.signals import pending, waiting, wake_order
from support.whole_store import JobStore


async def test_a_signal_wakes_the_job_that_waits_for_its_name(store: JobStore) -> None:
    job = await waiting(store, "paid", "late")
    order = wake_order()

    announced = await store.announce(pending(job.id, 3), order)

    woken = await again(store, job)
    assert announced is not None
    assert (announced.kind, announced.state, announced.boot) == (job.kind, State.QUEUED, None)
    assert announced.woken_at == woken.queued_at is not None
    assert (woken.state, woken.reason, woken.rev, woken.waits) == (State.QUEUED, Reason.SIGNALLED, job.rev + 1, None)
    assert (woken.signals, woken.attempt, woken.history[-1].rev) == (3, job.attempt, woken.rev)
    assert woken.history[-1].at == woken.queued_at
    assert woken.expires_at == woken.queued_at + timedelta(seconds=EXPIRES_IN_S)
    assert woken.next_check_at == woken.queued_at + timedelta(seconds=GRACE_S)


async def test_a_woken_job_is_as_after_a_move(store: JobStore) -> None:
    by_signal, by_move = await waiting(store, "paid"), await waiting(store, "paid")
    order = wake_order()
    await store.announce(pending(by_signal.id), order)
    await moved(store, by_move, order.transition)
    one, other = await again(store, by_signal), await again(store, by_move)
    apart = {name: getattr(by_move, name) for name in ("id", "accepted_at", "started_at")}
    history = [replace(entry, at=by_move.accepted_at) for entry in one.history]
    assert [replace(entry, at=by_move.accepted_at) for entry in other.history] == history
    assert replace(one, history=(), signals=0, **apart) == replace(other, history=(), **apart)


async def test_a_job_keeps_its_own_expiry(store: JobStore) -> None:
    job = await waiting(store, "paid", expires_in_s=2.0)
    await store.announce(pending(job.id), wake_order())
    woken = await again(store, job)
    assert woken.expires_at is not None and woken.queued_at is not None
    assert (
        woken.expires_at - woken.queued_at == timedelta(seconds=2) == (woken.next_check_at or now()) - woken.queued_at
    )


@pytest.mark.parametrize("signals", [(), ("late",), ("pai", "paid2")])
async def test_a_parked_job_sleeps_on_for_other_names(store: JobStore, signals: tuple[str, ...]) -> None:
    job = await waiting(store, *signals)
    announced = await store.announce(pending(job.id, 2), wake_order())
    assert announced is not None and announced.woken_at is None
    assert await again(store, job) == job


@pytest.mark.parametrize(
    ("signals", "names", "is_woken"),
    [
        ((ANY_SIGNAL,), ("paid",), True),
        (("paid",), (ANY_SIGNAL,), True),
        ((), (ANY_SIGNAL,), False),
        (("a", "b"), ("b", "c"), True),
        (("a", "b"), ("c", "d"), False),
    ],
)
async def test_any_name_stands_for_all(
    store: JobStore, signals: tuple[str, ...], names: tuple[str, ...], is_woken: bool
) -> None:
    job = await waiting(store, *signals)
    announced = await store.announce(pending(job.id, 1, *names), wake_order())
    assert announced is not None and (announced.woken_at is not None) is is_woken


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RUNNING])
async def test_a_signal_raises_the_number_of_a_live_job(store: JobStore, state: State) -> None:
    job = await MAKERS[state](store)
    for in_seq in (2, 5, 3):
        announced = await store.announce(pending(job.id, in_seq), wake_order())
        assert announced is not None and announced.woken_at is None and announced.state is state
        assert announced.boot == (None if job.owner is None else job.owner.boot)
        assert announced.attempt == job.attempt
    assert await again(store, job) == replace(job, signals=5)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
async def test_an_ended_job_is_not_changed(store: JobStore, state: State) -> None:
    job = await MAKERS[state](store)
    announced = await store.announce(pending(job.id), wake_order())
    assert announced is not None and announced.state is state
    assert await again(store, job) == job


async def test_an_unknown_job_has_no_announcement(store: JobStore) -> None:
    assert await store.announce(pending(new_id()), wake_order()) is None


async def test_a_renewal_tells_the_number_of_announced_signals(store: JobStore) -> None:
    told, quiet, other = await running(store), await running(store), await running(store)
    ids = [told.id, quiet.id]

    async def signals_of_leases() -> list[int]:
        leases = await store.renew(ids, boot="boot-1", lease_s=LEASE_S)
        return [leases[job_id].signals for job_id in ids]

    assert await signals_of_leases() == [0, 0]
    for in_seq, known in ((2, 2), (5, 5), (3, 5)):
        await store.announce(pending(told.id, in_seq), wake_order())
        await store.announce(pending(other.id, 9), wake_order())
        assert await signals_of_leases() == [known, 0], "the highest number, of this job alone"
    # A signal raises no `rev`, so a lease is otherwise as it was.
    leases = await store.renew(ids, boot="boot-1", lease_s=LEASE_S)
    assert replace_lease(leases[told.id], id=quiet.id, nonce=leases[quiet.id].nonce, signals=0) == leases[quiet.id]


async def test_a_later_attempt_learns_of_earlier_signals_with_its_renewal(store: JobStore) -> None:
    job = await waiting(store, "paid")
    await store.announce(pending(job.id, 4), wake_order())
    claim = lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S)
    job = await moved(store, await again(store, job), claim)
    (lease,) = (await store.renew([job.id], boot=owner().boot, lease_s=LEASE_S)).values()
    assert (lease.attempt, lease.signals) == (2, 4)


async def test_a_park_that_has_not_read_the_signal_is_refused(store: JobStore) -> None:
    job = await running(store)
    await store.announce(pending(job.id, 4), wake_order())
    park = lifecycle_waits.park(at=now(), waits=Waits("wait", "paid", None, ("paid",)))
    assert await store.apply([Move(replace(job.seen, signals=3), park)]) == [Applied.STALE]
    assert await store.apply([Move(replace(job.seen, signals=4), park)]) == [Applied.APPLIED]


async def test_a_park_and_a_signal_at_once_lose_nothing(store: JobStore) -> None:
    for _ in range(20):
        job = await running(store)
        park = lifecycle_waits.park(at=now(), waits=Waits("wait", "paid", None, ("paid",)))
        (applied,), announced = await asyncio.gather(
            store.apply([Move(replace(job.seen, signals=0), park)]), store.announce(pending(job.id), wake_order())
        )
        assert announced is not None
        found = await again(store, job)
        woken_or_refused = (State.QUEUED, Applied.APPLIED), (State.RUNNING, Applied.STALE)
        assert (found.state, applied) in woken_or_refused and found.signals == 1


async def test_a_cancel_and_a_signal_at_once_end_in_one_of_both(store: JobStore) -> None:
    for _ in range(20):
        job = await waiting(store, "paid")
        (applied,), announced = await asyncio.gather(
            store.apply([Move(job.seen, interventions.cancel(at=now(), retention_s=RETENTION_S))]),
            store.announce(pending(job.id), wake_order()),
        )
        assert announced is not None
        found = await again(store, job)
        assert found.waits is None
        assert (found.state is State.CANCELLED) is (applied is Applied.APPLIED) is (announced.woken_at is None)


async def test_of_many_announcements_one_wakes(store: JobStore) -> None:
    job = await waiting(store, "paid")
    found = await asyncio.gather(*(store.announce(pending(job.id, n), wake_order()) for n in range(1, 9)))
    assert sum(one is not None and one.woken_at is not None for one in found) == 1
    assert (await again(store, job)).signals == 8


async def test_a_claim_behind_a_signal_runs_the_job(store: JobStore) -> None:
    job = await waiting(store, "paid")
    await store.announce(pending(job.id), wake_order())
    owner = lifecycle.Owner("w", "b", "n")
    (claimed,) = await store.claim([job.id], kinds=[job.kind], owner=owner, lease_s=10, at=now() + timedelta(seconds=1))
    assert claimed.attempt == job.attempt + 1
    assert (await again(store, job)).signals == 1


# Senders that died between the push and the announcement.


async def test_a_signal_is_pending_until_it_is_announced(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    first = await ledgers.push_signal(push(job_id, "s1", "paid"), at=now())
    second = await ledgers.push_signal(push(job_id, "s2", "late"), at=now())
    assert first == PendingSignals(job_id, 1, ("paid",))
    # The name of the first sender, which may have died, is announced by the second one too.
    assert second == PendingSignals(job_id, 2, ("late", "paid"))
    await ledgers.unset_pending(job_id, in_seq=1)
    assert await ledgers.pending_signals(limit=10, older_than_s=0) == [second]
    await ledgers.unset_pending(job_id, in_seq=2)
    assert await ledgers.pending_signals(limit=10, older_than_s=0) == []
    assert (await ledger_of(ledgers, job_id)).pending_names == ()
    assert await ledgers.push_signal(push(job_id, "s3", "c"), at=now()) == PendingSignals(job_id, 3, ("c",))


async def test_many_pending_names_stand_for_any(store: JobStore) -> None:
    ledgers, job_id = store.ledgers(), new_id()
    for number in range(MOST_NAMES):
        await ledgers.push_signal(push(job_id, f"s{number}", f"n{number}"), at=now())
    assert len((await ledger_of(ledgers, job_id)).pending_names) == MOST_NAMES
    found = await ledgers.push_signal(push(job_id, "more", "more"), at=now())
    assert found == PendingSignals(job_id, MOST_NAMES + 1, (ANY_SIGNAL,))


async def test_pending_signals_come_oldest_first_and_in_pages(store: JobStore) -> None:
    ledgers = store.ledgers()
    ids = [new_id() for _ in range(3)]
    for job_id in ids:
        await ledgers.push_signal(push(job_id), at=now())
    # A second signal does not make the first one younger.
    await ledgers.push_signal(push(ids[0], "s2"), at=now())
    found = await ledgers.pending_signals(limit=2, older_than_s=0)
    assert [(one.id, one.in_seq) for one in found] == [(ids[0], 2), (ids[1], 1)]
    assert await ledgers.pending_signals(limit=10, older_than_s=60) == []
