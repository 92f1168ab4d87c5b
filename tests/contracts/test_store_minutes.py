"""Minute buckets: written once whatever is repeated, read as one series, newest first; and what waits by kind."""

from datetime import timedelta

import pytest

from acked_common.model.minute_buckets import ACCEPTED, HOUR_S, MINUTE_S, MOST_READ, STARTED, Bucket
from acked_common.model.queue_place import QueueLook
from support.factories import ago, insert, new_job, now, running, scheduled
from support.whole_store import JobStore

AT = now().replace(second=0, microsecond=0)


def bucket(kind: str | None = "demo", *, tenant: str | None = "acme", n: int = 1, minutes_ago: int = 0) -> Bucket:
    at = AT - timedelta(seconds=MINUTE_S * minutes_ago)
    return Bucket(tenant, kind, MINUTE_S, at, {ACCEPTED: n, "wait.37": n, "run.0": 1})


async def read(store: JobStore, kind: str | None = "demo", tenant: str | None = "acme") -> list[Bucket]:
    return await store.minutes(tenant, kind, step_s=MINUTE_S, since_at=AT - timedelta(hours=1))


async def test_a_bucket_is_read_as_it_was_written(store: JobStore) -> None:
    written = bucket(n=3)
    await store.add_minutes("boot", 1, [written])
    assert await read(store) == [written]


async def test_later_writes_of_a_process_add_up(store: JobStore) -> None:
    await store.add_minutes("boot", 1, [bucket(n=3)])
    await store.add_minutes("boot", 2, [Bucket("acme", "demo", MINUTE_S, AT, {ACCEPTED: 1, STARTED: 4, "wait.2": 1})])
    (found,) = await read(store)
    assert found.counts == {ACCEPTED: 4, STARTED: 4, "wait.37": 3, "wait.2": 1, "run.0": 1}


async def test_a_write_that_is_repeated_counts_once(store: JobStore) -> None:
    first, second = bucket(n=3), bucket(minutes_ago=1)
    await store.add_minutes("boot", 1, [first])
    for _ in range(3):
        await store.add_minutes("boot", 2, [first, second])
    assert [one.counts[ACCEPTED] for one in await read(store)] == [6, 1]


async def test_processes_count_apart(store: JobStore) -> None:
    for boot in ("a", "b", "c"):
        await store.add_minutes(boot, 1, [bucket()])
    assert await read(store) == [bucket()] * 3


async def test_a_read_sees_one_series_newest_first(store: JobStore) -> None:
    others = [
        bucket("other"),
        bucket(None),
        bucket(tenant="globex"),
        bucket(tenant=None),
        Bucket("acme", "demo", HOUR_S, AT, {ACCEPTED: 1}),
        bucket(minutes_ago=61),
    ]
    wanted = [bucket(minutes_ago=n) for n in (0, 5, 60)]
    await store.add_minutes("boot", 1, [wanted[1], *others, wanted[2], wanted[0]])
    assert await read(store) == wanted
    assert await read(store, None) == [others[1]]
    assert await read(store, tenant=None) == [others[3]]


async def test_a_read_is_bounded_and_loses_the_oldest(store: JobStore) -> None:
    await store.add_minutes("last", 1, [bucket()])
    for start in range(0, MOST_READ, 50):
        # As many processes as it takes.
        written = [bucket(minutes_ago=n) for n in range(1, 51)]
        await store.add_minutes(f"boot-{start}", 1, written)
    found = await read(store)
    assert len(found) == MOST_READ
    assert found[0] == bucket()
    assert found[-1].at == AT - timedelta(minutes=50)


async def test_no_buckets(store: JobStore) -> None:
    await store.add_minutes("boot", 1, [])
    assert await read(store) == []


async def test_queued_jobs_are_counted_by_kind_and_age(store: JobStore) -> None:
    old = ago(60.0)
    await insert(
        store,
        *(new_job(kind="a", at=old) for _ in range(3)),
        new_job(kind="a"),
        *(new_job(kind="b", at=old, tenant="acme") for _ in range(2)),
    )
    await scheduled(store, kind="a")
    await running(store, kind="a")
    look = QueueLook(await store.queued_by_kind(at_most=100), at_s=0.0)
    assert [look.ahead(kind, ago(30.0)).ahead for kind in ("a", "b", "c")] == [3, 2, 0]
    assert look.ahead("a", now() + timedelta(seconds=5)).ahead == 4
    assert not look.is_cut


@pytest.mark.parametrize("at_most", [1, 4])
async def test_a_count_of_queued_jobs_is_bounded_and_begins_with_the_oldest(store: JobStore, at_most: int) -> None:
    await insert(store, *(new_job(kind="a", at=ago(100.0 - n)) for n in range(5)))
    shares = await store.queued_by_kind(at_most=at_most)
    assert sum(share.count for share in shares) == at_most
    assert min(share.from_at for share in shares) <= ago(99.0)


async def test_counts_of_several_kinds_are_added_up_at_once(store: JobStore) -> None:
    for boot in ("a", "b"):
        written = [bucket(n=2), bucket(minutes_ago=5), bucket(minutes_ago=61), bucket("other", n=7), bucket("left-out")]
        await store.add_minutes(boot, 1, [*written, bucket(tenant="globex"), bucket(None, n=9)])
    found = await store.kind_totals(
        "acme", ["demo", "other", "absent"], step_s=MINUTE_S, since_at=AT - timedelta(hours=1)
    )
    assert found == {"demo": {ACCEPTED: 6}, "other": {ACCEPTED: 14}}
