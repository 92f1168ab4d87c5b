"""How many jobs may wait: what is admitted between counts, and when a refused client should come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.problems import ProblemError
from acked_common.runtime.clock import SharedClock
from acked_common.store.errors import StoreUnavailable
from acked_intake.accept.quota import LONGEST_RETRY_S, Quota, Refusal
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.settings import Quotas
from support.factories import new_job
from support.parked import parked
from support.parts import ShakyStore


def admitted(quota: Quota, count: int, tenant: str = "a") -> int:
    return sum(quota.admit(tenant) is None for _ in range(count))


def counted(quota: Quota, now: float, **tenants: int) -> None:
    quota.begin(now)
    quota.counted(sum(tenants.values()), tenants)


def refusal(quota: Quota, tenant: str = "a") -> Refusal:
    found = quota.admit(tenant)
    assert found is not None
    return found


def test_without_quotas_everything_is_admitted() -> None:
    quota = Quota(Quotas(0, 0))
    counted(quota, 0.0, a=10**9)
    assert admitted(quota, 100) == 100


def test_what_was_admitted_since_the_count_counts_too() -> None:
    quota = Quota(Quotas(10, 0))
    counted(quota, 0.0, a=4)
    assert admitted(quota, 20) == 6
    found = refusal(quota)
    assert (found.waiting, found.quota, found.is_of_tenant) == (10, 10, False)


def test_what_is_admitted_while_a_count_is_under_way_is_counted_once() -> None:
    quota = Quota(Quotas(10, 0))
    admitted(quota, 3)
    quota.begin(1.0)
    admitted(quota, 2)
    quota.counted(3, {})
    assert admitted(quota, 20) == 5


def test_tenants_do_not_take_each_others_room() -> None:
    quota = Quota(Quotas(0, 5))
    assert admitted(quota, 9, "a") == 5
    assert admitted(quota, 9, "b") == 5
    counted(quota, 1.0, a=5, b=1)
    assert refusal(quota, "a").is_of_tenant
    assert admitted(quota, 9, "b") == 4
    assert admitted(quota, 9, "new") == 5


def test_tenants_are_told_apart_only_where_one_may_be_near_its_quota() -> None:
    quota = Quota(Quotas(100, 10))
    assert not quota.needs_tenants(4)
    assert quota.needs_tenants(5)
    assert not Quota(Quotas(100, 0)).needs_tenants(90)


def test_a_count_that_fails_forgets_what_was_before_it() -> None:
    quota = Quota(Quotas(10, 0))
    counted(quota, 0.0, a=2)
    for _ in range(50):
        admitted(quota, 5)
        quota.begin(1.0)
        quota.failed()
    assert admitted(quota, 20) == 8


def test_a_client_is_told_when_there_is_room_at_the_pace_of_late() -> None:
    quota = Quota(Quotas(100, 0))
    counted(quota, 0.0, a=300)
    assert refusal(quota).retry_after_s == LONGEST_RETRY_S
    for second in range(1, 20):
        counted(quota, float(second), a=300 - 10 * second)
    # 110 wait and 10 leave each second: room for one more in a bit more than a second.
    assert refusal(quota).retry_after_s == 2
    counted(quota, 20.0, a=100)
    assert refusal(quota).retry_after_s == 1


def test_a_tenants_time_is_that_of_its_own_jobs() -> None:
    quota = Quota(Quotas(0, 100))
    for second in range(20):
        counted(quota, float(second), a=300 - 10 * second, b=200)
    assert refusal(quota, "a").retry_after_s == 2
    assert refusal(quota, "b").retry_after_s == LONGEST_RETRY_S


def test_when_nothing_leaves_any_more_the_time_grows_again() -> None:
    quota = Quota(Quotas(100, 0))
    counted(quota, 0.0, a=1000)
    counted(quota, 1.0, a=200)
    before = refusal(quota).retry_after_s
    for second in range(2, 12):
        counted(quota, float(second), a=200)
    assert before < refusal(quota).retry_after_s == LONGEST_RETRY_S


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_one_process_alone_never_exceeds_the_quota(most: int, steps: list[tuple[int, int]]) -> None:
    quota = Quota(Quotas(most, 0))
    waiting = 0
    for number, (asked, left) in enumerate(steps):
        waiting += admitted(quota, asked)
        assert waiting <= most
        waiting -= min(left, waiting)
        quota.begin(float(number))
        found = waiting
        waiting += admitted(quota, asked)
        quota.counted(found, {})
        assert waiting <= most
        refused = quota.admit("x")
        if refused is None:
            waiting += 1
        else:
            assert 1 <= refused.retry_after_s <= LONGEST_RETRY_S


def test_a_tenant_with_too_many_parked_jobs_is_refused_new_ones() -> None:
    quota = Quota(Quotas(0, 0, parked_of_tenant=7))
    quota.counted_parked({"a": 9})
    found = refusal(quota, "a")
    assert (found.waiting, found.quota, found.is_of_tenant, found.is_of_parked) == (9, 7, True, True)
    assert admitted(quota, 3, "b") == 3
    quota.counted_parked({})
    assert admitted(quota, 3, "a") == 3


async def test_parked_jobs_count_against_their_own_quota_alone() -> None:
    store = ShakyStore(SharedClock())
    for _ in range(3):
        await parked(store, due_s=60.0)
    counter = QuotaCounter(store, Quotas(2, 0, parked_of_tenant=3))
    counter.admit("default")
    await counter.count()
    with pytest.raises(ProblemError) as caught:
        counter.admit("default")
    assert caught.value.problem.detail == "3 jobs of this tenant are parked, 3 may; nothing was stored"
    counter.admit("another")
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        await counter.count()


async def test_the_counter_counts_what_is_stored() -> None:
    store = ShakyStore(SharedClock())
    await store.insert([new_job() for _ in range(4)])
    counter = QuotaCounter(store, Quotas(5, 3))
    counter.admit("somebody")
    await counter.count()
    counter.admit("somebody")
    with pytest.raises(ProblemError) as caught:
        counter.admit("default")
    assert "5 may" in caught.value.problem.detail
    await counter.count()
    with pytest.raises(ProblemError) as caught:
        counter.admit("default")
    assert "of this tenant" in caught.value.problem.detail


async def test_a_store_that_is_away_refuses_nobody_by_quota() -> None:
    store = ShakyStore(SharedClock())
    counter = QuotaCounter(store, Quotas(5, 0))
    store.is_away = True
    for _ in range(10):
        counter.admit("a")
        with pytest.raises(StoreUnavailable):
            await counter.count()
