"""The mutants: what they change, why that is wrong, and which tests must notice. Pure but for reading files.

A mutant replaces whole lines of one file. Both texts are compared and put in without their common indentation, so that
a block that moves into another one keeps its mutants; a text that is not there exactly once is an error.
"""

import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


class DoesNotApply(Exception):
    """The lines that a mutant changes are not there, or more than once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong change. `tests` are arguments of pytest: those that must notice it, the quickest first."""

    name: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_mutants(folder: Path = FOLDER) -> list[Mutant]:
    """All mutants of the TOML files of a folder. Raises `TypeError` for a field that is missing or unknown."""
    found: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        for name, fields in tomllib.loads(path.read_text()).items():
            found.append(Mutant(name, tests=tuple(fields.pop("tests")), **fields))
    return found


def mutated(text: str, mutant: Mutant) -> str:
    """A file's text with the change. Raises `DoesNotApply`."""
    lines = text.splitlines()
    old, new = _block(mutant.old), _block(mutant.new)
    if not old:
        raise DoesNotApply(f"{mutant.name}: it names no lines to replace")
    places = [at for at in range(len(lines) - len(old) + 1) if _is_at(lines, at, old)]
    if len(places) != 1:
        raise DoesNotApply(f"{mutant.name}: its lines are {len(places)} times in {mutant.file}, not once")
    at = places[0]
    indentation = lines[at][: len(lines[at]) - len(old[0])]
    changed = [*lines[:at], *(indentation + line if line else "" for line in new), *lines[at + len(old) :]]
    return "\n".join(changed) + "\n"


def _block(text: str) -> list[str]:
    return textwrap.dedent(text).strip("\n").splitlines()


def _is_at(lines: Sequence[str], at: int, block: Sequence[str]) -> bool:
    # The first line is compared by itself first: that is quick.
    return lines[at].endswith(block[0]) and _block("\n".join(lines[at : at + len(block)])) == list(block)
