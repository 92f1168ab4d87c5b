"""A server with prepared responses, and an environment without settings."""

from collections.abc import Iterator

import pytest

from support.cli import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as made:
        for name in ("ACKED_TOKEN", "ACKED_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ACKED_GATEWAY", made.url)
        monkeypatch.setenv("ACKED_INTAKE", made.url)
        yield made
