"""Regular expressions must mean the same on every supported Python.

Python 3.11.2, which Debian 12 ships, matches possessive quantifiers over groups wrongly (cpython gh-106052, mended in
3.11.5). Delete this module when 3.11.5 is the oldest supported version.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import re._parser as parser  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("libs", "services", "deploy", "tests") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}


def patterns(tree: ast.AST) -> Iterator[str | bytes]:
    """What is given to functions of `re` and as `pattern=…`; of an f-string its constant text."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "pattern"]
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re":
            given += node.args[:1]
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
                yield value.value
            elif isinstance(value, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in value.values)


def operators(parsed: Any) -> Iterator[str]:
    """The names of all operators of a parsed pattern."""
    for operator, argument in parsed:
        yield str(operator)
        stack = [argument]
        while stack:
            part = stack.pop()
            if isinstance(part, parser.SubPattern):
                yield from operators(part)
            elif isinstance(part, tuple | list):
                stack += part


@pytest.mark.parametrize("pattern", ["a*+", "(?:ab)++", "x(?>a)", "(a|b{2}+)", b"[a]?+"])
def test_forbidden_operators_are_found(pattern: str | bytes) -> None:
    assert FORBIDDEN & set(operators(parser.parse(pattern)))


def test_no_pattern_is_possessive_or_atomic() -> None:
    found = 0
    for path in SOURCES:
        for pattern in patterns(ast.parse(path.read_text(), str(path))):
            found += 1
            try:
                used = set(operators(parser.parse(pattern)))
            except re.error:
                # The constant text of an f-string alone need not be a whole pattern.
                continue
            assert not used & FORBIDDEN, f"{path.relative_to(ROOT)}: {pattern!r}"
    assert found > 50
