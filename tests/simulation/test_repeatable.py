"""A seed names one run: it comes out the same each time, in every process."""

import subprocess
import sys
from pathlib import Path

from simulation.simulator import run

TESTS = Path(__file__).resolve().parents[1]
SEEDS = (3, 11, 29)
PRINT = f"from simulation.simulator import run\nfor seed in {SEEDS}: print(run(seed).fingerprint)"


def test_the_same_seed_makes_the_same_run() -> None:
    first = [run(seed) for seed in SEEDS]
    assert [run(seed).trace for seed in SEEDS] == [result.trace for result in first]
    assert len({result.fingerprint for result in first}) == len(SEEDS)


def test_a_run_does_not_depend_on_the_process() -> None:
    """Sets of texts are walked in another order under another hash seed."""
    here = [run(seed).fingerprint for seed in SEEDS]
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", PRINT],
            env={"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert there.stdout.split() == here
