"""The store of bulk actions and their leases, on both stores."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model.bulk_actions import (
    MOST_ACTIVE,
    MOST_ACTIVE_OF_TENANT,
    Abort,
    BulkAction,
    BulkPlan,
    BulkResolution,
    BulkState,
    BulkVerb,
    JobChoice,
    JobRefusal,
    with_count,
    with_end,
    with_page,
)
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT, Actor
from acked_common.store.bulk_actions import Added, BulkStore
from support.bulk import BY, chosen, ordered
from support.factories import eventually, now
from support.whole_store import JobStore

LONG_S = 60.0
SHORT_S = 0.05


@pytest.fixture
def actions(store: JobStore) -> BulkStore:
    return store.bulk_actions()


def made(*, tenant: str = DEFAULT_TENANT, **fields: object) -> BulkAction:
    return ordered(BulkPlan(now(), new_id(), 3), choice=chosen(tenant=tenant, kind="k"), **fields)


async def take(actions: BulkStore, owner: str, *, lease_s: float, but: Sequence[UUID]) -> BulkAction | None:
    taken = await actions.take(owner, lease_s=lease_s, but=but)
    return None if taken is None else taken.action


async def added(actions: BulkStore, action: BulkAction | None = None, ids: tuple[UUID, ...] = ()) -> BulkAction:
    action = action or made()
    assert await actions.add(action, ids) is Added.ADDED
    return action


async def test_an_action_is_read_as_it_was_made(actions: BulkStore) -> None:
    choice = JobChoice(
        "acme",
        (State.CANCELLED, State.FAILED),
        kind="k",
        batch="b",
        tag="t",
        error_group="1a",
        since_at=now() - timedelta(hours=1),
        until_at=now(),
    )
    resolution = BulkResolution(State.FAILED, b'{"$a":1}', "by hand")
    plan = BulkPlan(now(), new_id(), 100_000, is_exact=False)
    full = ordered(plan, BulkVerb.RESOLVE, choice=choice, rate_per_s=2.5, reason="why", resolution=resolution)
    bare = ordered(BulkPlan(now(), new_id(), 2), BulkVerb.ERASE, ids=2)
    for action, ids in ((full, ()), (bare, (new_id(), new_id()))):
        await added(actions, action, ids)
        assert await actions.get(action.id, tenant=action.order.tenant) == action
        assert await actions.get(action.id, tenant="another") is None
        assert tuple(await actions.ids_of(action.id)) == ids
    assert await actions.get(new_id(), tenant="acme") is None


async def test_an_action_is_kept_once(actions: BulkStore) -> None:
    action = await added(actions)
    await added(actions, action)
    page = await actions.list(DEFAULT_TENANT, page_size=9)
    assert [one.id for one in page.actions] == [action.id]


async def test_a_list_is_the_tenants_own_and_newest_first(actions: BulkStore) -> None:
    mine = [await added(actions) for _ in range(5)]
    await added(actions, made(tenant="globex"))
    first = await actions.list(DEFAULT_TENANT, page_size=3)
    rest = await actions.list(DEFAULT_TENANT, page_size=3, before=first.next_before)
    assert [*first.actions, *rest.actions] == mine[::-1]
    assert (len(first.actions), rest.next_before) == (3, None)
    exact = await actions.list(DEFAULT_TENANT, page_size=5)
    assert exact.next_before is None


async def test_a_tenant_has_so_many_under_way_at_once(actions: BulkStore) -> None:
    outcomes = await asyncio.gather(*(actions.add(made(), ()) for _ in range(MOST_ACTIVE_OF_TENANT + 4)))
    assert Counter(outcomes) == {Added.ADDED: MOST_ACTIVE_OF_TENANT, Added.TENANT_FULL: 4}
    await added(actions, made(tenant="globex"))
    taken = await take(actions, "a", lease_s=LONG_S, but=[])
    assert taken is not None
    assert await actions.save(with_end(taken, BulkState.DONE, now()), owner="a") is not None
    await added(actions)
    assert await actions.add(made(), ()) is Added.TENANT_FULL


async def test_all_tenants_have_so_many_under_way_at_once(actions: BulkStore) -> None:
    for n in range(MOST_ACTIVE):
        await added(actions, made(tenant=f"tenant-{n % 7}"))
    assert await actions.add(made(tenant="one-more"), ()) is Added.ALL_FULL


async def test_one_of_many_takes_an_action(actions: BulkStore) -> None:
    action = await added(actions)
    taken = await asyncio.gather(*(take(actions, f"owner-{n}", lease_s=LONG_S, but=[]) for n in range(8)))
    assert [one for one in taken if one is not None] == [action]


async def test_the_oldest_is_taken_first(actions: BulkStore) -> None:
    made_in_order = [await added(actions) for _ in range(3)]
    assert await take(actions, "a", lease_s=LONG_S, but=[made_in_order[0].id]) == made_in_order[1]
    assert await take(actions, "a", lease_s=LONG_S, but=[]) == made_in_order[0]


async def test_an_action_is_free_when_its_lease_is_over(actions: BulkStore) -> None:
    action = await added(actions)
    assert await take(actions, "a", lease_s=SHORT_S, but=[]) == action

    async def taken_by_another() -> bool:
        return await take(actions, "b", lease_s=LONG_S, but=[]) == action

    await eventually(taken_by_another)
    assert await actions.renew([action.id], owner="a", lease_s=LONG_S) == {}
    assert await actions.save(with_page(action, [new_id()], now()), owner="a") is None
    assert await actions.save(with_page(action, [new_id()], now()), owner="b") is not None


async def test_a_renewed_lease_is_not_over(store: JobStore, actions: BulkStore) -> None:
    action, other = await added(actions), await added(actions)
    assert await take(actions, "a", lease_s=SHORT_S, but=[other.id]) == action
    renewed = await actions.renew([action.id, other.id, new_id()], owner="a", lease_s=LONG_S)
    assert {one: lease.abort_asked for one, lease in renewed.items()} == {action.id: False}
    assert await take(actions, "b", lease_s=LONG_S, but=[]) == other
    over_at = await store.server_time() + timedelta(seconds=SHORT_S)

    async def is_over() -> bool:
        return await store.server_time() > over_at

    await eventually(is_over)
    assert await take(actions, "b", lease_s=LONG_S, but=[]) is None


async def test_an_owner_knows_when_its_lease_is_over(store: JobStore, actions: BulkStore) -> None:
    action = await added(actions)
    before = await store.server_time()
    taken = await actions.take("a", lease_s=SHORT_S, but=[])
    assert taken is not None
    assert before <= taken.until_at - timedelta(seconds=SHORT_S) <= await store.server_time()

    async def renewed() -> bool:
        # A read may be of the lease before.
        lease = (await actions.renew([action.id], owner="a", lease_s=LONG_S))[action.id]
        assert lease.until_at <= await store.server_time() + timedelta(seconds=LONG_S)
        return lease.until_at >= before + timedelta(seconds=LONG_S)

    await eventually(renewed)


async def test_what_is_given_back_is_free_at_once(actions: BulkStore) -> None:
    mine = [await added(actions) for _ in range(2)]
    theirs = await added(actions)
    for owner, but in (("a", []), ("a", []), ("b", [])):
        assert await take(actions, owner, lease_s=LONG_S, but=but) is not None
    await actions.give_back("a")
    taken = [await take(actions, "c", lease_s=LONG_S, but=[]) for _ in range(3)]
    assert taken == [*mine, None]
    assert theirs.id not in {one.id for one in taken if one is not None}


async def test_a_page_is_written_counted_and_ended(actions: BulkStore) -> None:
    ids = tuple(new_id() for _ in range(3))
    action = await added(actions, ordered(BulkPlan(now(), ids[-1], 3), ids=3), ids)
    await take(actions, "a", lease_s=LONG_S, but=[])
    paged = with_page(action, ids, now())
    assert await actions.save(paged, owner="a") == paged
    counted = with_count(paged, 1, [JobRefusal(ids[0], "moved"), JobRefusal(ids[2], "a.b$c")])
    assert await actions.save(counted, owner="a") == counted
    assert (counted.tally.done, counted.tally.refused) == (1, {"moved": 1, "a.b$c": 1})
    assert tuple(await actions.ids_of(action.id)) == ids
    ended = with_end(counted, BulkState.FAILED, now(), "why")
    assert await actions.save(ended, owner="a") == ended
    assert await actions.get(action.id, tenant=DEFAULT_TENANT) == ended
    assert await actions.ids_of(action.id) == []
    assert await take(actions, "b", lease_s=LONG_S, but=[]) is None
    assert await actions.renew([action.id], owner="a", lease_s=LONG_S) == {}


async def test_a_repeated_write_changes_nothing(actions: BulkStore) -> None:
    ids = [new_id()]
    action = await added(actions)
    await take(actions, "a", lease_s=LONG_S, but=[])
    paged = with_page(action, ids, now())
    for _ in range(2):
        assert await actions.save(paged, owner="a") == paged
    other = replace(paged, position=replace(paged.position, page=(new_id(),)))
    assert await actions.save(other, owner="a") is None, "another write of the same number comes too late"
    counted = with_count(paged, 1, [])
    for _ in range(2):
        assert await actions.save(counted, owner="a") == counted
    assert await actions.save(paged, owner="a") is None
    ended = with_end(counted, BulkState.DONE, now())
    for _ in range(2):
        assert await actions.save(ended, owner="a") == ended
    assert await actions.save(with_page(ended, ids, now()), owner="a") is None


async def test_the_first_abort_counts_and_the_owner_sees_it(actions: BulkStore) -> None:
    action = await added(actions)
    await take(actions, "a", lease_s=LONG_S, but=[])
    abort = Abort(BY, now())
    assert await actions.request_abort(action.id, abort, tenant="globex") is None
    wanted = replace(action, abort=abort)
    assert await actions.request_abort(action.id, abort, tenant=DEFAULT_TENANT) == wanted
    later = Abort(Actor("another"), now())
    assert await actions.request_abort(action.id, later, tenant=DEFAULT_TENANT) == wanted
    assert (await actions.renew([action.id], owner="a", lease_s=LONG_S))[action.id].abort_asked
    paged = with_page(action, [new_id()], now())
    assert await actions.save(paged, owner="a") == replace(paged, abort=abort)
    assert await actions.request_abort(new_id(), abort, tenant=DEFAULT_TENANT) is None


async def test_an_abort_of_what_has_ended_changes_nothing(actions: BulkStore) -> None:
    action = await added(actions)
    await take(actions, "a", lease_s=LONG_S, but=[])
    ended = with_end(action, BulkState.DONE, now())
    await actions.save(ended, owner="a")
    assert await actions.request_abort(action.id, Abort(BY, now()), tenant=DEFAULT_TENANT) == ended
