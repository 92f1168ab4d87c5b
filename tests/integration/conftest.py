"""How many ended jobs the test over very many has: `--ended-jobs 1000000`."""

import pytest

ENDED_JOBS = 200_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the number on the command line."""
    parser.addoption("--ended-jobs", type=int, default=ENDED_JOBS, help="that succeeded, beside 100,000 failed ones")


@pytest.fixture
def ended_jobs(request: pytest.FixtureRequest) -> int:
    """How many jobs have succeeded."""
    number: int = request.config.getoption("--ended-jobs")
    return number
