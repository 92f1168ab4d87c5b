"""The rigs of the fault tests, and the table at the end of a run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.register_assert_rewrite("support.stacks", "faults.experiment", "faults.rig")

from faults.results import KEPT, Row, document_of, in_order, lines_of  # noqa: E402
from faults.rig import Rig, running_rig  # noqa: E402
from support.order import rank  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a stack of its own comes first: the shared one begins when that is done, and idles beside none. The
    longest modules of either kind begin."""
    items.sort(key=lambda item: ("rig" in getattr(item, "fixturenames", ()), rank(item.path)))


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One stack for the experiments of all modules: two workers, one intake, one gateway, all links. Each experiment
    leaves it whole."""
    with running_rig(tmp_path_factory.mktemp("rig"), scale={"worker": 2}) as running:
        yield running


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where two processes run the tests, each hands its rows over."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["fault_rows"] = msgspec.json.encode(KEPT).decode()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of those processes has ended."""
    KEPT.extend(msgspec.json.decode(getattr(node, "workeroutput", {}).get("fault_rows", "[]"), type=list[Row]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table, and writes it where it is wanted."""
    if not KEPT:
        return
    rows = in_order(KEPT)
    terminalreporter.section("fault suite")
    for line in lines_of(rows):
        terminalreporter.write_line(line)
    if wanted := os.environ.get("ACKED_TEST_FAULT_RESULTS"):
        page = Path(wanted)
        page.write_text(document_of(rows, page.read_text() if page.exists() else ""))
