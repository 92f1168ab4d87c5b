"""What tests of mutations share: the search for a seed that shows one."""

from collections.abc import Callable

from simulation.simulator import Result

MOST_SEEDS = 500


def first_broken(once: Callable[[int], Result]) -> Result:
    """The result of the first seed that breaks a rule."""
    for seed in range(MOST_SEEDS):
        result = once(seed)
        if result.violations:
            return result
    raise AssertionError(f"not found in {MOST_SEEDS} seeds")
