"""The runner of isolated attempts, beside a host in memory."""

from collections.abc import AsyncIterator

import pytest

from support.isolated import Bench, Host
from support.parts import settle


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("acked_worker.isolate.isolated_runner.ForkServerClient", Host)
    made = Bench()
    yield made
    await made.suspects.close(0.0)
    await settle()
