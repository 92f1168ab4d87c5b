"""The token that carries a plan from a dry run to the run."""

from dataclasses import replace
from datetime import timedelta

import pytest

from acked_common.model.bulk_actions import MAX_PAGE, BulkPlan, BulkVerb
from acked_common.model.ids import new_id
from acked_gateway.bulk.plan import (
    CLOCKS_APART,
    MOST_TOKEN_CHARS,
    PlanError,
    PlannedFor,
    page_size,
    plan_from,
    token_of,
)
from support.factories import ManualClock

NOW = ManualClock().now()
PLAN = BulkPlan(NOW - timedelta(seconds=5), new_id(), 100_000, is_exact=False)
FOR = PlannedFor("acme", BulkVerb.RETRY, {"kind": "k", "batch": "b"})


@pytest.mark.parametrize("exact", [True, False])
def test_a_plan_comes_back_from_its_token(exact: bool) -> None:
    plan = BulkPlan(PLAN.planned_at, PLAN.up_to, 7, is_exact=exact)
    token = token_of(plan, FOR)
    assert plan_from(token, FOR, NOW) == plan
    assert len(token) <= MOST_TOKEN_CHARS


def test_members_of_a_filter_have_no_order() -> None:
    again = replace(FOR, wanted=dict(reversed(list(FOR.wanted.items()))))  # type: ignore[union-attr]
    assert plan_from(token_of(PLAN, FOR), again, NOW) == PLAN


IDS = (new_id(), new_id())
OTHERS = [
    replace(FOR, tenant="globex"),
    replace(FOR, verb=BulkVerb.CANCEL),
    replace(FOR, wanted={"kind": "k"}),
    replace(FOR, wanted={"kind": "k", "batch": "c"}),
    replace(FOR, wanted=IDS),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_plan_serves_what_it_was_made_for(other: PlannedFor) -> None:
    with pytest.raises(PlanError, match="belongs to another"):
        plan_from(token_of(PLAN, FOR), other, NOW)
    with pytest.raises(PlanError, match="belongs to another"):
        plan_from(token_of(PLAN, other), FOR, NOW)


def test_a_plan_of_ids_serves_these_ids() -> None:
    made = replace(FOR, wanted=IDS)
    assert plan_from(token_of(PLAN, made), made, NOW) == PLAN
    with pytest.raises(PlanError, match="belongs to another"):
        plan_from(token_of(PLAN, made), replace(FOR, wanted=IDS[:1]), NOW)


def test_a_changed_token_is_refused() -> None:
    token = token_of(PLAN, FOR)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(PlanError):
            plan_from(token[:place] + other + token[place + 1 :], FOR, NOW)


@pytest.mark.parametrize("text", ["", "x", "!!!!", "ä", "A" * MOST_TOKEN_CHARS, " " * 10])
def test_nonsense_is_no_token(text: str) -> None:
    with pytest.raises(PlanError, match=r"must be the plan|belongs"):
        plan_from(text, FOR, NOW)


def test_a_plan_of_the_future_is_refused() -> None:
    token = token_of(PLAN, FOR)
    with pytest.raises(PlanError, match="future"):
        plan_from(token, FOR, PLAN.planned_at - CLOCKS_APART - timedelta(milliseconds=1))
    # That of a gateway whose clock is ahead of this one's.
    assert plan_from(token, FOR, PLAN.planned_at - CLOCKS_APART) == PLAN


@pytest.mark.parametrize(
    ("rate", "size"), [(None, MAX_PAGE), (0.1, 1), (1.0, 1), (10.0, 5), (50.0, 25), (1000.0, MAX_PAGE)]
)
def test_a_page_holds_the_jobs_of_half_a_second(rate: float | None, size: int) -> None:
    assert page_size(rate) == size
