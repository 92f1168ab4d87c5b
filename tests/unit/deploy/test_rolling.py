"""Which program of the supervisor a part is, before, during and after a rolling restart."""

from collections.abc import Mapping
from typing import Any

import pytest

from deploy.native.environment import EnvironmentValueError, restart_ahead
from deploy.native.rolling import current_programs, other_of, part_of, programs_of


def info(state: str, start: float) -> Mapping[str, Any]:
    return {"statename": state, "start": start}


def test_two_programs_of_a_part_take_turns() -> None:
    assert [other_of("worker-1"), other_of("worker-1.b")] == ["worker-1.b", "worker-1"]
    assert [part_of("worker-1"), part_of("worker-1.b"), part_of("epmd")] == ["worker-1", "worker-1", "epmd"]


@pytest.mark.parametrize(
    ("first", "second", "current"),
    [
        (info("RUNNING", 1), info("RUNNING", 2), "worker-1"),
        (info("RUNNING", 2), info("RUNNING", 1), "worker-1.b"),
        (info("STOPPING", 1), info("RUNNING", 2), "worker-1.b"),
        (info("STOPPED", 1), info("STARTING", 2), "worker-1.b"),
        (info("BACKOFF", 1), info("STOPPED", 0), "worker-1"),
    ],
)
def test_current_program_is_the_older_one_that_goes_on(
    first: Mapping[str, Any], second: Mapping[str, Any], current: str
) -> None:
    both = {"epmd": info("RUNNING", 0), "worker-1": first, "worker-1.b": second}
    assert current_programs(both) == {"epmd": "epmd", "worker-1": current}
    assert current_programs(dict(reversed(both.items()))) == {"worker-1": current, "epmd": "epmd"}


def test_parts_keep_their_programs_and_new_ones_get_the_first() -> None:
    known = {"worker-1.b": info("RUNNING", 1), "worker-3": info("RUNNING", 1)}
    assert programs_of(["worker-1", "worker-2"], known) == ["worker-1.b", "worker-2"]


@pytest.mark.parametrize(
    ("text", "number", "ahead"),
    [("", 4, 4), ("all", 4, 4), ("1", 4, 1), ("9", 4, 4), ("1", 0, 0), ("all", 0, 0)],
)
def test_restart_ahead_is_all_or_a_number(text: str, number: int, ahead: int) -> None:
    assert restart_ahead({"ACKED_RESTART_AHEAD": text}, number) == ahead


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", "9" * 5000])
def test_restart_ahead_refuses_what_is_no_number(text: str) -> None:
    with pytest.raises(EnvironmentValueError, match="ACKED_RESTART_AHEAD"):
        restart_ahead({"ACKED_RESTART_AHEAD": text}, 4)
