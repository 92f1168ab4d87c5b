"""The census: what stands, by kind, state and group of errors; and what people note on a group."""

from dataclasses import replace
from datetime import datetime, timedelta

from acked_common.model import interventions, lifecycle
from acked_common.model.attempts import UNGROUPED
from acked_common.model.lifecycle import State
from acked_common.store.census import MINUTES, Census, GroupCount, GroupNotes, KindCount, TenantAttention
from acked_common.store.records import Job
from support.factories import (
    ERROR,
    EXPIRES_IN_S,
    GRACE_S,
    RETENTION_S,
    ago,
    cancelled,
    insert,
    moved,
    new_job,
    now,
    queued,
    running,
    scheduled,
    succeeded,
)
from support.whole_store import JobStore


async def _fails(
    store: JobStore, group: str | None, at: datetime, *, kind: str = "a", tenant: str = "default", **error: str
) -> Job:
    job = await running(store, kind=kind, claimed_at=at, tenant=tenant)
    found = {**ERROR, **error} if group is None else {**ERROR, **error, "group": group}
    return await moved(store, job, lifecycle.fail(at=at, error=found, retention_s=RETENTION_S, exhausted=True))


async def _counted(store: JobStore, at: datetime | None = None) -> Census:
    counted = await store.count_census(at=at or now())
    await store.write_census(counted)
    return counted


async def _groups(store: JobStore, tenant: str = "default") -> dict[str, GroupCount]:
    return {group.group: group for group in (await store.read_attention(tenant=tenant)).groups}


async def test_before_the_first_census_there_is_none(store: JobStore) -> None:
    assert await store.read_census() is None
    assert await store.read_attention(tenant="default") == TenantAttention(None, is_complete=True, groups=(), known={})


async def test_an_empty_store_counts_as_nothing(store: JobStore) -> None:
    at = now()
    await _counted(store, at)
    summary = await store.read_census()
    assert summary is not None
    assert (summary.counted_at, summary.kinds, summary.inexact) == (at, [], frozenset())
    assert (await store.read_attention(tenant="default")).counted_at == at


async def test_jobs_are_counted_by_kind_and_state(store: JobStore) -> None:
    start = ago(600)
    await insert(store, *(new_job(kind="a", at=start + timedelta(seconds=n)) for n in range(3)))
    await queued(store, kind="b", at=ago(60))
    await running(store, kind="a", at=ago(3000))
    await scheduled(store, kind="b", delay_s=600.0)
    await succeeded(store, kind="a"), await cancelled(store, kind="c")
    await _fails(store, "1a", now(), kind="b")
    await _fails(store, None, now(), kind="a", tenant="acme")

    counted = await _counted(store)

    assert await store.read_census() == counted.summary
    assert counted.summary.inexact == frozenset()
    kinds = {kind.kind: kind for kind in counted.summary.kinds}
    assert kinds["a"] == KindCount("a", {State.QUEUED: 3, State.RUNNING: 1, State.FAILED: 1}, start, 1)
    assert kinds["b"].states == {State.QUEUED: 1, State.SCHEDULED: 1, State.FAILED: 1}
    assert kinds.keys() == {"a", "b"}


async def test_failed_jobs_are_counted_by_group(store: JobStore) -> None:
    at = now().replace(second=30)
    for n in range(4):
        await _fails(store, "1a", at - timedelta(minutes=n))
    newest = await _fails(store, "1b", at - timedelta(days=1), kind="b", type="Last", culprit="m:f: x")
    await _fails(store, "1b", at - timedelta(days=2), kind="b")

    await _counted(store, at)

    attention = await store.read_attention(tenant="default")
    assert (attention.counted_at, attention.is_complete) == (at, True)
    groups = await _groups(store)
    assert groups.keys() == {"1a", "1b"}
    assert (groups["1a"].count, groups["1a"].is_exact, groups["1a"].kinds) == (4, True, {"a": 4})
    assert groups["1a"].per_minute == (*(0,) * (MINUTES - 4), 1, 1, 1, 1)
    assert (groups["1a"].first_at, groups["1a"].last_at) == (at - timedelta(minutes=3), at)
    assert (groups["1b"].count, sum(groups["1b"].per_minute), groups["1b"].newest) == (2, 0, newest.id)
    known = attention.known["1b"]
    assert (known.first_at, known.newest, known.notes) == (at - timedelta(days=2), newest.id, GroupNotes())
    assert (known.example.kind, known.example.type, known.example.culprit) == ("b", "Last", "m:f: x")


async def test_each_tenant_sees_its_own_groups(store: JobStore) -> None:
    await _fails(store, "1a", now(), tenant="acme")
    await _fails(store, "1a", now(), tenant="acme.b")
    await _fails(store, "1b", now(), tenant="acme.b")
    await _counted(store)
    assert {tenant: set(await _groups(store, tenant)) for tenant in ("acme", "acme.b", "default")} == {
        "acme": {"1a"},
        "acme.b": {"1a", "1b"},
        "default": set(),
    }
    await store.note_group("1a", {"comment": "mine"}, tenant="acme")
    other = await store.known_group("1a", tenant="acme.b")
    assert other is not None and other.notes.comment is None


async def test_jobs_without_a_group_are_counted_unless_somebody_attended(store: JobStore) -> None:
    one, two, three, _ = [await _fails(store, None, ago(60 - n), kind="ab"[n % 2]) for n in range(4)]
    at = now()
    resolve = interventions.resolve(at=at, to=State.FAILED, result=None, note=None, retention_s=RETENTION_S)
    await moved(store, one, resolve)
    await moved(store, two, interventions.erase(at=at, state=State.FAILED))
    await _counted(store)
    groups = await _groups(store)
    assert groups.keys() == {UNGROUPED}
    assert (groups[UNGROUPED].count, groups[UNGROUPED].kinds) == (2, {"a": 1, "b": 1})
    await moved(store, three, resolve)
    await _counted(store)
    assert (await _groups(store))[UNGROUPED].kinds == {"b": 1}


async def test_a_group_goes_with_its_jobs_and_its_notes_stay(store: JobStore) -> None:
    start = ago(600)
    job = await _fails(store, "1a", start)
    await _counted(store)
    await store.note_group("1a", {"comment": "known"}, tenant="default")
    again = interventions.retry(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    await moved(store, job, again)

    await _counted(store)
    assert await _groups(store) == {}

    await _fails(store, "1a", now(), message="again")
    await _counted(store)
    attention = await store.read_attention(tenant="default")
    known = attention.known["1a"]
    assert (known.notes.comment, known.first_at, known.example.message) == ("known", start, "again")
    assert attention.groups[0].first_at > start


async def test_notes_change_what_they_name_and_leave_the_rest(store: JobStore) -> None:
    await _fails(store, "1a", now())
    await _counted(store)
    at = now()
    taken = await store.note_group("1a", {"comment": "x", "taken_by": "ada", "taken_at": at}, tenant="default")
    assert taken is not None
    assert taken.notes == GroupNotes("x", "ada", at, None)
    snoozed = await store.note_group("1a", {"comment": None, "snoozed_until": at}, tenant="default")
    assert snoozed == await store.known_group("1a", tenant="default") is not None
    assert snoozed == replace(taken, notes=GroupNotes(None, "ada", at, at))
    assert await store.note_group("1absent", {"comment": "x"}, tenant="default") is None
    assert await store.note_group("1a", {"comment": "x"}, tenant="acme") is None
    # A census leaves notes as they are.
    await _fails(store, "1a", now())
    await _counted(store)
    assert (await store.read_attention(tenant="default")).known["1a"].notes == snoozed.notes


async def test_snoozed_groups_need_no_attention_meanwhile(store: JobStore) -> None:
    at = now()
    await _fails(store, "1a", at)
    await _fails(store, "1b", at)
    await _counted(store, at)
    await store.note_group("1a", {"snoozed_until": at + timedelta(seconds=60)}, tenant="default")
    (kind,) = (await _counted(store, at + timedelta(seconds=59))).summary.kinds
    assert (kind.states, kind.attention) == ({State.FAILED: 2}, 1)
    (kind,) = (await _counted(store, at + timedelta(seconds=60))).summary.kinds
    assert kind.attention == 2


async def test_a_long_message_is_cut(store: JobStore) -> None:
    await _fails(store, "1a", now(), message="x" * 5000)
    await _counted(store)
    message = (await store.read_attention(tenant="default")).known["1a"].example.message
    assert len(message) == 1000 and message.endswith("…")
