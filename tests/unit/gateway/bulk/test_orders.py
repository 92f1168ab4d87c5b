"""Requests for bulk actions: dry runs, new actions, aborts, and their entries in the audit."""

from datetime import timedelta
from typing import Any

import pytest

from acked_common.http.problems import ProblemError
from acked_common.model.audit import AuditEntry
from acked_common.model.bulk_actions import MOST_ACTIVE_OF_TENANT, BulkVerb
from acked_common.model.ids import new_id
from acked_common.model.principal import DEFAULT_TENANT, Actor, Operator
from acked_common.store.errors import StoreUnavailable
from acked_gateway.audit.notes import Audit
from acked_gateway.bulk.body import Wish
from acked_gateway.bulk.orders import BulkOrders
from acked_gateway.bulk.representations import bulk_fields, preview_fields
from support.bulk import GROUP, failed_in_group
from support.bulk_bench import ACTS, Bench
from support.factories import ERROR, queued

OPERATOR = Operator(DEFAULT_TENANT, Actor("ops", "tokenid23456"))
WISH = Wish(BulkVerb.RETRY, filter={"error.group": GROUP}, reason="because")


class Desk(Bench):
    """The bench with what takes orders."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = 0
        self.orders = BulkOrders(
            self.store.choices(),
            self.store.bulk_actions(),
            self.clock,
            ACTS,
            audit=Audit(self.store.audit(), self.clock),
            wake=self.wake,
        )

    def wake(self) -> None:
        self.woken += 1

    @property
    def audited(self) -> list[AuditEntry]:
        return self.store.audit().entries


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_dry_run_counts_shows_and_changes_nothing(desk: Desk) -> None:
    jobs = await desk.failed(30)
    preview = await desk.orders.preview(WISH, DEFAULT_TENANT)
    fields = preview_fields(WISH.verb, preview)
    assert (fields["count"], fields["count_is_exact"]) == (30, True)
    assert [one["id"] for one in fields["examples"]] == [str(job.id) for job in jobs[:20]]
    assert fields["examples"][0]["error"] == {"type": ERROR["type"], "message": ERROR["message"]}
    assert (desk.audited, desk.woken) == ([], 0)
    assert (await desk.store.bulk_actions().list(DEFAULT_TENANT, page_size=9)).actions == []


async def test_a_run_has_the_plan_of_its_dry_run(desk: Desk) -> None:
    await desk.failed(5)
    preview = await desk.orders.preview(WISH, DEFAULT_TENANT)
    desk.clock.advance(60.0)
    await desk.failed(5)
    action = await desk.orders.order(Wish(WISH.verb, filter=WISH.filter, plan=preview.token), OPERATOR)
    assert action.plan == preview.plan
    assert action.plan.matched == 5
    assert (await desk.orders.order(WISH, OPERATOR)).plan.matched == 10


async def test_durations_count_back_from_the_plan(desk: Desk) -> None:
    wanted = {"error.group": GROUP, "since": "1h"}
    preview = await desk.orders.preview(Wish(BulkVerb.RETRY, filter=wanted), DEFAULT_TENANT)
    planned_at = desk.clock.now()
    desk.clock.advance(600.0)
    action = await desk.orders.order(Wish(BulkVerb.RETRY, filter=wanted, plan=preview.token), OPERATOR)
    assert action.order.choice is not None
    assert action.order.choice.since_at == planned_at - timedelta(hours=1)


async def test_an_action_is_audited_before_it_is_kept(desk: Desk) -> None:
    await desk.failed(3)
    action = await desk.orders.order(WISH, OPERATOR)
    (entry,) = desk.audited
    assert (entry.client, entry.token_id, entry.action) == ("ops", "tokenid23456", "bulk")
    assert (entry.reason, entry.count) == ("because", 3)
    assert entry.target == {"bulk": str(action.id), "action": "retry", "filter": {"error.group": GROUP}}
    assert desk.woken == 1
    assert await desk.get(action) == action


async def test_an_audit_that_can_not_be_written_refuses_the_action(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(desk.store.audit(), "note", away)
    with pytest.raises(StoreUnavailable):
        await desk.orders.order(WISH, OPERATOR)
    assert (await desk.store.bulk_actions().list(DEFAULT_TENANT, page_size=9)).actions == []


async def test_ids_are_counted_that_would_move(desk: Desk) -> None:
    jobs = await desk.failed(3)
    other = await queued(desk.store, at=desk.clock.now())
    foreign = await failed_in_group(desk.store, at=desk.clock.now(), tenant="globex")
    ids = tuple(sorted([*(job.id for job in jobs), other.id, foreign.id, new_id()]))
    wish = Wish(BulkVerb.RETRY, ids=ids)
    preview = await desk.orders.preview(wish, DEFAULT_TENANT)
    assert (preview.count, {job.id for job in preview.examples}) == (3, {job.id for job in jobs})
    action = await desk.orders.order(Wish(BulkVerb.RETRY, ids=ids, plan=preview.token), OPERATOR)
    assert (action.order.id_count, action.plan.matched) == (6, 6)
    assert list(await desk.store.bulk_actions().ids_of(action.id)) == list(ids)
    assert desk.audited[0].target == {"bulk": str(action.id), "action": "retry", "ids": 6}
    assert bulk_fields(action)["ids"] == 6


async def test_too_many_actions_are_refused(desk: Desk) -> None:
    for _ in range(MOST_ACTIVE_OF_TENANT):
        await desk.orders.order(WISH, OPERATOR)
    with pytest.raises(ProblemError) as caught:
        await desk.orders.order(WISH, OPERATOR)
    assert (caught.value.problem.name, caught.value.problem.status) == ("too-many-bulk-actions", 429)
    assert int(caught.value.problem.headers["Retry-After"]) > 0
    await desk.orders.order(WISH, Operator("globex", Actor("other")))


async def test_an_abort_is_audited_once(desk: Desk) -> None:
    action = await desk.orders.order(WISH, OPERATOR)
    for _ in range(2):
        found = await desk.orders.abort(action.id, OPERATOR)
        assert found is not None and found.abort is not None
        fields = bulk_fields(found)
        assert fields["abort_requested_by"] == {"client": "ops", "token_id": "tokenid23456"}
    assert [entry.action for entry in desk.audited] == ["bulk", "bulk_abort"]
    assert desk.audited[1].target == {"bulk": str(action.id), "action": "retry"}
    assert await desk.orders.abort(action.id, Operator("globex", Actor("other"))) is None
    assert await desk.orders.abort(new_id(), OPERATOR) is None


@pytest.mark.parametrize("token", ["x", "A" * 60])
async def test_a_plan_that_is_none_is_refused(desk: Desk, token: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await desk.orders.order(Wish(BulkVerb.RETRY, filter=WISH.filter, plan=token), OPERATOR)
    assert caught.value.problem.errors[0]["pointer"] == "/plan"
    assert desk.audited == []
