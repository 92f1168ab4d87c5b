"""Every known failure window has its row, and what the row names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/failure-windows.md"
WINDOWS = [f"W{n}" for n in range(1, 79)]
TEST = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)\)")


def rows() -> dict[str, list[str]]:
    """The cells of each window's row."""
    found: dict[str, list[str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"\| ([WR]\d+) \|.*\|", line):
            assert cells[0] not in found, f"{cells[0]} has two rows"
            found[cells[0]] = cells
    return found


def links(cell: str) -> list[tuple[str, Path]]:
    """What a cell names and where it leads."""
    return [(text, (DOCUMENT.parent / target).resolve()) for text, target in LINK.findall(cell)]


def names_in(path: Path) -> set[str]:
    """The names of the test functions of a module, those of its classes included."""
    return set(TEST.findall(path.read_text()))


def test_no_window_is_left_out() -> None:
    assert {*WINDOWS, "R1"} <= rows().keys()


@pytest.mark.parametrize("window", rows())
def test_a_window_names_what_we_do_where_and_the_test_that_shows_it(window: str) -> None:
    _, what, remedy, files, tests = rows()[window]
    assert what and remedy
    assert links(files) and links(tests)
    for name, path in links(files):
        assert path.is_file() and path.as_posix().endswith(name.rsplit("/", 1)[-1]), name
    for name, path in links(tests):
        assert f"test_{name.replace(' ', '_')}" in names_in(path), f"{window}: {path.name} has no test {name!r}"
