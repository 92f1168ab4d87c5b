"""The plans, and what the command line chooses of them."""

import pytest

from benchmarks.__main__ import FIGURES, parse_arguments, plan_of
from benchmarks.plan import LONG, QUICK, USUAL, Plan

SET_UP_S = 30.0


@pytest.mark.parametrize("plan", [QUICK, USUAL, LONG], ids=lambda plan: plan.name)
def test_what_the_figures_may_take_is_less_than_the_whole(plan: Plan) -> None:
    assert plan.budgets_s.keys() == FIGURES.keys()
    assert sum(plan.budgets_s.values()) + SET_UP_S <= plan.within_s


@pytest.mark.parametrize(("words", "plan"), [([], USUAL), (["--quick"], QUICK), (["--long"], LONG)])
def test_the_plan_is_chosen(words: list[str], plan: Plan) -> None:
    assert plan_of(parse_arguments(words)) is plan


def test_figures_are_chosen_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_arguments(["--quick", "--only", "accept", "per-job"]).only == ["accept", "per-job"]
    with pytest.raises(SystemExit):
        parse_arguments(["--only", "nothing"])
    assert "per-job" in capsys.readouterr().err
