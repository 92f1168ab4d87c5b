"""What the figures of durable calls make of their measurements."""

import pytest

from benchmarks.bars import Judged
from benchmarks.figures import signals, sleepers, steps
from benchmarks.report import FigureResult, figure_lines


def verdicts(result: FigureResult) -> dict[str, tuple[float | None, str]]:
    """Each bar's value and verdict."""
    assert figure_lines(result)
    return {found.bar.what: _of(found) for found in result.judged}


def _of(found: Judged) -> tuple[float | None, str]:
    return None if found.value is None else round(found.value, 3), found.verdict


def steps_values(ours: float, chain: float) -> steps.Values:
    return {
        "Acked, no-ops": {"completed": [1000.0, 2000.0]},
        "Acked, 3 steps a job": {"completed": [ours, 2 * ours], "steps": [3 * ours, 6 * ours]},
        "DBOS": {"completed": [100.0, 100.0], "steps": [300.0, 300.0]},
        "Absurd": {"completed": [200.0, 200.0], "steps": [600.0, 600.0]},
        "10 disk waits of MongoDB, one after the other": {"p50": [10.0, 20.0], "p99": [30.0, 40.0]},
        "Acked, a chain of 10 steps": {"p50": [chain, 2 * chain], "p99": [90.0, 90.0]},
        "of which until its first step is recorded": {"p50": [1.0, 1.0], "p99": [2.0, 2.0]},
    }


def test_steps_are_judged_by_ratios_of_the_same_round() -> None:
    result = steps._result(steps_values(500.0, 13.0), ["DBOS", "Absurd"])
    assert verdicts(result) == {
        "steps/s ÷ no-op jobs/s": (1.5, "met"),
        "steps/s ÷ DBOS": (7.5, "met"),
        "chain of 10 steps ÷ 10 disk waits, p50": (1.3, "met"),
    }
    assert {row.name: row.ratio for row in result.rows if row.ratio is not None} == {"DBOS": 7.5, "Absurd": 3.75}


def test_steps_below_their_bars_are_not_met() -> None:
    result = steps._result(steps_values(300.0, 14.0), ["DBOS"])
    assert [verdict for _, verdict in verdicts(result).values()] == ["not met"] * 3


def test_signal_is_compared_from_its_202() -> None:
    starts = [(10.0, 8.0)] * 98 + [(20.0, 16.0)] * 2
    result = signals._result(starts, [(90.0, 60.0)] * 100)
    assert verdicts(result) == {"p99 from the 202 of a signal ÷ p99 of an idle start from its request": (3.0, "met")}
    assert result.rows[1].name == "signal to a parked job, 100 of them"


@pytest.mark.parametrize(("refused", "storm_s", "good"), [(0, 20.0, True), (1, 20.1, False)])
def test_sleepers_are_judged_by_what_the_same_run_measured(refused: int, storm_s: float, good: bool) -> None:
    found = sleepers._Found(
        drained_per_s=100.0,
        sleepers=1000,
        storm_s=storm_s,
        before=[5.0] * 100,
        during=[10.0 if good else 10.1] * 100,
        refused=refused,
        memory={"before": 100.0, "asleep": 110.0 if good else 111.0, "most while they end": 110.0 if good else 112.0},
    )
    result = verdicts(sleepers._result(found))
    assert len(result) == 5
    assert {verdict for _, verdict in result.values()} == {"met" if good else "not met"}
