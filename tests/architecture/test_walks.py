"""ARCHITECTURE.md leads a reader through the code: each walk names files and symbols that exist, ten files at most."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WALKS = (
    *("checked", "persisted", "published", "claimed", "run", "recorded", "sent to a client", "swept"),
    *("a schedule fires", "a step is recorded", "a sleeper is resumed", "a signal arrives", "a callback is delivered"),
    "a program submits",
)
MOST_FILES = 10
STEP = re.compile(r"\[[^\]]+\]\((?P<file>[^)]+)\)(?: `(?P<symbol>\w+)`)?")


def walks() -> dict[str, list[tuple[str, str | None]]]:
    """The steps of each row of the table: file and symbol."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        if row := re.fullmatch(r"\| \*\*(?P<name>[^*]+)\*\* \|[^|]+\|(?P<steps>.+)\|", line):
            found[row["name"]] = [(step["file"], step["symbol"]) for step in STEP.finditer(row["steps"])]
    return found


def defined_in(path: Path) -> set[str]:
    """The classes and functions of a module."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}


def test_every_walk_has_its_row() -> None:
    assert tuple(walks()) == WALKS


@pytest.mark.parametrize("name", WALKS)
def test_walk_names_files_and_symbols_that_exist(name: str) -> None:
    steps = walks()[name]
    assert 3 <= len({file for file, _ in steps}) <= MOST_FILES
    for file, symbol in steps:
        assert (ROOT / file).is_file(), file
        assert symbol is None or symbol in defined_in(ROOT / file), f"{file} has no {symbol}"
