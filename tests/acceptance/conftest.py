"""One stack of the shipped entry points for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("support.stacks", "support.contract")

from support.stacks import TestStack, running_stack  # noqa: E402

HANDLERS = Path(__file__).parent / "handlers"


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A running stack that also serves the kinds of `handlers/`; a module's `ENVIRON` is what its parts are told."""
    environ = {"ACKED_HANDLERS_DIR": str(HANDLERS), "ACKED_DRAIN_S": "2", **getattr(request.module, "ENVIRON", {})}
    folder = tmp_path_factory.mktemp("stack")
    with running_stack(folder, environ=environ) as running:
        yield running
