"""The order of a rolling restart: at every moment each service has as many ready processes as it can spare none of."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.native.rolling import Action, Step, steps
from deploy.native.supervisor import SERVICES

numbers = st.integers(min_value=0, max_value=6)


def test_a_single_process_gets_a_second_one_first() -> None:
    assert steps({"intake": 1}, ["intake"]) == [
        Step(Action.ADD, "intake-2"),
        Step(Action.REPLACE, "intake-1"),
        Step(Action.REMOVE, "intake-2"),
    ]


def test_several_are_replaced_one_after_the_other() -> None:
    assert steps({"worker": 3}, ["worker"]) == [Step(Action.REPLACE, f"worker-{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize("roles", [[], ["worker"]])
def test_what_is_not_there_is_not_restarted(roles: Sequence[str]) -> None:
    assert steps({"worker": 0}, roles) == []


@given(
    scale=st.fixed_dictionaries(dict.fromkeys(SERVICES, numbers)),
    roles=st.lists(st.sampled_from(SERVICES), unique=True),
)
def test_every_part_is_replaced_once_and_one_is_always_there(scale: Mapping[str, int], roles: list[str]) -> None:
    there = {f"{role}-{n}" for role in SERVICES for n in range(1, scale[role] + 1)}
    wanted = set(there)
    replaced: list[str] = []
    for step in steps(scale, roles):
        role = step.part.split("-")[0]
        if step.action is Action.ADD:
            assert step.part not in there
            there.add(step.part)
        else:
            there.remove(step.part)
            assert any(part.startswith(f"{role}-") for part in there), "nobody serves meanwhile"
            if step.action is Action.REPLACE:
                there.add(step.part)
                replaced.append(step.part)
    assert there == wanted
    assert sorted(replaced) == sorted(part for part in wanted if part.split("-")[0] in roles)
