"""Which seeds run: `--seed 1234` one of them, `--seeds 20000` more than usual."""

import os

import pytest

SEEDS = 1000
PORTIONS = 40
"""The seeds are spread over so many tests, so that two processes share them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    asked = os.environ.get("ACKED_SIM_SEED")
    parser.addoption("--seed", type=int, default=int(asked) if asked else None, help="run this seed alone")
    parser.addoption("--seeds", type=int, default=SEEDS, help="run the seeds from 0 on up to this many")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Deals the seeds out."""
    if "seeds" in metafunc.fixturenames:
        seed, most = metafunc.config.getoption("--seed"), metafunc.config.getoption("--seeds")
        portions = [range(seed, seed + 1)] if seed is not None else [range(n, most, PORTIONS) for n in range(PORTIONS)]
        metafunc.parametrize("seeds", portions, ids=lambda portion: f"{portion.start}-by-{portion.step}")
