"""The promise under drawn faults: crashes, pauses, cuts, lost, late and doubled messages, in thousands of seeds."""

import pytest

from simulation.cases import FOUND
from simulation.simulator import run
from simulation.trace import needed_faults, report


def check(seed: int) -> None:
    """Runs one seed; fails with the trace of its job."""
    result = run(seed)
    if result.violations:
        rule = result.violations[0].rule
        pytest.fail(report(result, needed_faults(rule, lambda without: run(seed, without=without))), pytrace=False)


def test_nothing_is_lost_doubled_or_stuck(seeds: range) -> None:
    for seed in seeds:
        check(seed)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_mended(seed: int) -> None:
    check(seed)
