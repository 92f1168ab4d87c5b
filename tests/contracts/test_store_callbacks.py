"""Ends of jobs with callbacks, and secrets, on every store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from acked_common.model import interventions, lifecycle
from acked_common.model.callbacks import ROTATION, Callback, JobEnd, with_callback
from acked_common.model.lifecycle import Move, Owner, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.callbacks import CallbackSecret, SettledEnds
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, Job
from support.factories import insert, new_job
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AT = datetime.now(UTC).replace(microsecond=0)
CALLBACK = Callback("https://example.com/hook", ("job.failed",))


async def ended(store: AnyStore, *, callback: Callback | None = CALLBACK, tenant: str = DEFAULT_TENANT) -> UUID:
    """A job that a worker has ended as failed."""
    job = new_job(callback=callback, tenant=tenant)
    await insert(store, job)
    owner = Owner("worker-1", "boot", "nonce")
    (claimed,) = await store.claim([job.id], kinds=[job.kind], owner=owner, lease_s=60.0, at=AT)
    error = {"type": "ValueError", "message": "no", "retryable": False, "attempt": 1}
    failed = lifecycle.fail(at=AT, error=error, retention_s=3600.0, exhausted=False)
    assert await store.apply([Move(claimed.seen, failed)]) == [Applied.APPLIED]
    return job.id


async def marked(store: AnyStore, tenant: str = DEFAULT_TENANT) -> Sequence[Job]:
    return await store.jobs_with_ends(tenant, limit=10)


def settled(job: Job) -> SettledEnds:
    return SettledEnds(job.id, job.rev, job.callback_open, tuple(end.key for end in job.callback_ends))


async def test_end_of_job_with_callback_is_marked_until_settled(store: AnyStore) -> None:
    job_id = await ended(store)
    assert await store.next_tenant_with_ends("") == DEFAULT_TENANT
    (job,) = await marked(store)
    assert (job.id, job.state, job.callback, job.callback_open) == (job_id, State.FAILED, CALLBACK, True)
    await store.settle_ends([settled(job)])
    assert await store.next_tenant_with_ends("") is None
    assert await marked(store) == []
    found = await store.get(job_id)
    assert found is not None
    assert (found.callback, found.callback_open) == (CALLBACK, False)


async def test_live_job_and_job_without_callback_are_not_marked(store: AnyStore) -> None:
    await ended(store, callback=None)
    await insert(store, new_job(callback=CALLBACK))
    assert await store.next_tenant_with_ends("") is None
    assert await marked(store) == []


async def test_tenants_with_ends_are_found_in_turn(store: AnyStore) -> None:
    for tenant in ("b", "a", "c"):
        await ended(store, tenant=tenant)
    found = [await store.next_tenant_with_ends(after) for after in ("", "a", "b", "c")]
    assert found == ["a", "b", "c", None]
    assert [job.tenant for job in await marked(store, "b")] == ["b"]


async def test_mark_of_job_that_moved_stays(store: AnyStore) -> None:
    job_id = await ended(store)
    (seen,) = await marked(store)
    retry = interventions.retry(at=AT, grace_s=1.0, expires_in_s=3600.0)
    kept = with_callback(retry, state=seen.state, run=seen.run, at=seen.finished_at, is_open=True)
    job = await store.get(job_id)
    assert job is not None
    assert await store.apply([Move(job.seen, kept)]) == [Applied.APPLIED]
    # Intake settles what it saw before the retry.
    await store.settle_ends([settled(seen)])
    found = await store.get(job_id)
    assert found is not None
    assert seen.finished_at is not None
    assert found.callback_open
    assert found.callback_ends == (JobEnd(1, "job.failed", seen.finished_at),)
    assert await store.next_tenant_with_ends("") == DEFAULT_TENANT
    (live,) = await marked(store)
    await store.settle_ends([SettledEnds(live.id, live.rev, False, tuple(end.key for end in live.callback_ends))])
    assert await store.next_tenant_with_ends("") is None
    left = await store.get(job_id)
    assert left is not None
    assert left.callback_open


async def test_delivery_is_asked_for_again_once(store: AnyStore) -> None:
    job_id = await ended(store)
    (job,) = await marked(store)
    await store.settle_ends([settled(job)])
    end = JobEnd(1, "job.failed", AT, 1)
    assert await store.ask_again(job_id, end, tenant=DEFAULT_TENANT)
    assert await store.ask_again(job_id, end, tenant=DEFAULT_TENANT)
    (found,) = await marked(store)
    assert found.callback_ends == (end,)
    assert not await store.ask_again(job_id, end, tenant="other")
    assert not await store.ask_again(await ended(store, callback=None), end, tenant=DEFAULT_TENANT)


def secret(number: int, at: datetime = AT) -> CallbackSecret:
    return CallbackSecret(f"cs_{number}", f"whsec_{number}", at)


async def test_secret_rotates_while_the_one_before_signs(store: AnyStore) -> None:
    secrets = store.callback_secrets()
    assert await secrets.secrets("acme", AT) == []
    assert await secrets.add_secret("acme", secret(1))
    later = AT + timedelta(hours=1)
    assert await secrets.add_secret("acme", secret(2, later))
    newest, before = await secrets.secrets("acme", later)
    assert (newest, before.id, before.ends_at) == (secret(2, later), "cs_1", later + ROTATION)
    assert not await secrets.add_secret("acme", secret(3, later))
    assert [one.id for one in await secrets.secrets("acme", later + ROTATION)] == ["cs_2"]
    assert await secrets.add_secret("acme", secret(4, later + ROTATION))
    assert [one.id for one in await secrets.secrets("acme", later + ROTATION)] == ["cs_4", "cs_2"]
    assert await secrets.secrets("other", AT) == []


@pytest.mark.parametrize(("ended_id", "left"), [("cs_1", ["cs_2"]), ("cs_2", ["cs_1"])])
async def test_secret_ends_at_once(store: AnyStore, ended_id: str, left: list[str]) -> None:
    secrets = store.callback_secrets()
    for number in (1, 2):
        assert await secrets.add_secret("acme", secret(number))
    assert await secrets.end_secret("acme", ended_id, AT)
    assert [one.id for one in await secrets.secrets("acme", AT)] == left
    assert not await secrets.end_secret("acme", ended_id, AT)
    assert not await secrets.end_secret("other", left[0], AT)


def test_secret_is_not_in_its_representation() -> None:
    record: Any = secret(1)
    assert "whsec_" not in repr(record)
