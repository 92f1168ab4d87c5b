"""The rigs of the fault tests, and the table at the end of a run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("support.stacks", "faults.experiment", "faults.rig")

from faults.results import KEPT, document_of, lines_of  # noqa: E402
from faults.rig import Rig, running_rig  # noqa: E402


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One stack for all experiments that leave their servers alive: two workers, one intake, one gateway, all links."""
    with running_rig(tmp_path_factory.mktemp("rig"), scale={"worker": 2}) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table, and writes it where it is wanted."""
    if not KEPT:
        return
    terminalreporter.section("fault suite")
    for line in lines_of(KEPT):
        terminalreporter.write_line(line)
    if wanted := os.environ.get("ACKED_TEST_FAULT_RESULTS"):
        Path(wanted).write_text(document_of(KEPT))
