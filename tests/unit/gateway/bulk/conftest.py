"""What the tests of the runner share."""

import pytest

from acked_gateway.bulk import runner
from support.bulk_bench import PAGE, Bench


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages hold few jobs, and let no error of the store cost time."""
    monkeypatch.setattr(runner, "page_size", lambda rate_per_s: PAGE if rate_per_s is None else max(1, int(rate_per_s)))
    monkeypatch.setattr(runner, "PAUSE_S", 0.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()
