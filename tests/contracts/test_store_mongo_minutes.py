"""The cost of minute buckets and looks on MongoDB: keys of one index, whatever else is stored."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model.minute_buckets import HOUR_S, KEPT_S, MINUTE_S, STEPS_S, Bucket
from acked_common.store.mongo import schema
from acked_common.store.mongo.minutes import SERIES_INDEX, minute_criteria, minute_update, totals_pipeline
from acked_common.store.mongo.queue import queued_pipeline
from acked_common.store.mongo.store import MongoStore
from support.factories import ago, insert, new_job, now, owner, queued

AT = now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


def stages(plan: Any) -> set[str]:
    """All stages of a plan, however deep."""
    if isinstance(plan, dict):
        own = {plan["stage"]} if "stage" in plan else set()
        return own.union(*map(stages, plan.values()))
    return set().union(*map(stages, plan)) if isinstance(plan, list) else set()


async def test_a_read_looks_at_its_own_series_alone(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    hours = [AT - timedelta(hours=n) for n in range(300)]
    for tenant in ("acme", "globex"):
        for kind in ("a", "b", None):
            await store.add_minutes("boot", 1, [Bucket(tenant, kind, HOUR_S, at, {"accepted": 1}) for at in hours])
    criteria = minute_criteria("acme", "a", step_s=HOUR_S, since_at=hours[191])
    found = database.command(
        "explain",
        {"find": schema.MINUTES, "filter": criteria, "sort": {"at": -1}, "limit": 10_000},
        verbosity="executionStats",
    )
    assert stages(found["queryPlanner"]["winningPlan"]) == {"LIMIT", "FETCH", "IXSCAN"}
    figures = found["executionStats"]
    assert (figures["nReturned"], figures["totalDocsExamined"]) == (192, 192)
    assert figures["totalKeysExamined"] <= 193


async def test_totals_of_kinds_look_at_the_steps_of_these_kinds_alone(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    hours = [AT - timedelta(hours=n) for n in range(60)]
    for tenant in ("acme", "globex"):
        for kind in ("a", "b", "c", None):
            for step_s in (MINUTE_S, HOUR_S):
                await store.add_minutes("boot", 1, [Bucket(tenant, kind, step_s, at, {"accepted": 1}) for at in hours])
    found = database.command(
        "explain",
        {
            "aggregate": schema.MINUTES,
            "pipeline": totals_pipeline("acme", ["a", "b", "absent"], step_s=HOUR_S, since_at=hours[23]),
            "cursor": {},
            "hint": SERIES_INDEX,
        },
        verbosity="executionStats",
    )
    assert {"IXSCAN"} <= stages(found) and "COLLSCAN" not in stages(found)
    figures = found["executionStats"] if "executionStats" in found else found["stages"][0]["$cursor"]["executionStats"]
    assert figures["totalDocsExamined"] == 2 * 24
    assert figures["totalKeysExamined"] <= 2 * 24 + 6


async def test_a_look_at_the_queue_reads_keys_and_no_document(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    await insert(store, *(new_job(kind=f"k{n % 3}", at=ago(60.0 - n / 10)) for n in range(300)))
    for at_most, looked_at in ((1000, 300), (50, 50)):
        found = database.command(
            "explain",
            {
                "aggregate": schema.JOBS,
                "pipeline": queued_pipeline(at_most),
                "cursor": {},
                "hint": schema.LIVE_INDEX,
            },
            verbosity="executionStats",
        )
        figures = (
            found["executionStats"] if "executionStats" in found else found["stages"][0]["$cursor"]["executionStats"]
        )
        assert figures["totalDocsExamined"] == 0
        assert figures["totalKeysExamined"] <= looked_at + 1
        assert "COLLSCAN" not in stages(found)


async def test_each_step_is_forgotten_in_its_time(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    await store.add_minutes("boot", 1, [Bucket("acme", "a", step_s, AT, {"accepted": 1}) for step_s in STEPS_S])
    found = {one["step_s"]: one["forget_at"] - one["at"] for one in database.minutes.find()}
    assert found == {step_s: timedelta(seconds=KEPT_S[step_s]) for step_s in STEPS_S}
    (index,) = [one for one in database.minutes.list_indexes() if "expireAfterSeconds" in one]
    assert (dict(index["key"]), index["expireAfterSeconds"]) == ({"forget_at": 1}, 0)


def test_a_document_is_of_one_process_and_one_series() -> None:
    one = Bucket("acme", "a", MINUTE_S, AT, {"accepted": 1})
    others = [
        ("boot", Bucket("globex", "a", MINUTE_S, AT, {})),
        ("boot", Bucket("acme", "b", MINUTE_S, AT, {})),
        ("boot", Bucket("acme", None, MINUTE_S, AT, {})),
        ("boot", Bucket("acme", "a", HOUR_S, AT, {})),
        ("boot", Bucket("acme", "a", MINUTE_S, AT + timedelta(seconds=60), {})),
        ("another", one),
    ]
    ids = {bytes(minute_update(boot, 1, bucket)["q"]["_id"]) for boot, bucket in [("boot", one), *others]}
    assert len(ids) == 7
    assert minute_update("boot", 1, one)["q"]["_id"] == minute_update("boot", 9, one)["q"]["_id"]


async def test_a_claim_knows_the_tenant_only_where_it_was_asked_to(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    asking = MongoStore(mongo_url, mongo_database, app_name="contracts", timeout_s=10.0, claims_tenants=True)
    try:
        for count in (1, 3):
            for by, tenant in ((store, "default"), (asking, "acme")):
                jobs = [await queued(store, tenant="acme") for _ in range(count)]
                ids = [job.id for job in jobs]
                claimed = await by.claim(ids, kinds=["demo"], owner=owner(), lease_s=30.0, at=now())
                assert [job.tenant for job in claimed] == [tenant] * count
                assert [job.seen.tenant for job in claimed] == [tenant] * count
    finally:
        await asking.close()
