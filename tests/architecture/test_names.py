"""A name stands for one thing: no two classes share theirs.

The client library is a world of its own: it imports nothing of ours, and names what the API's document names.
"""

import ast
from collections import defaultdict
from pathlib import Path
from typing import Protocol

import pytest

from acked_common.store import ports

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "libs" / "client"
SOURCES = sorted(path for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("*.py"))
MOST_VERBS = 12


@pytest.mark.parametrize("is_of_client", [False, True])
def test_no_two_classes_have_one_name(is_of_client: bool) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        if path.is_relative_to(CLIENT) is not is_of_client:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_each_storage_port_serves_one_role() -> None:
    roles = {
        name: role
        for name, role in vars(ports).items()
        if getattr(role, "_is_protocol", False) and role is not Protocol
    }
    assert len(roles) >= 15
    for name, role in roles.items():
        verbs = {verb for part in role.__mro__ for verb in vars(part) if not verb.startswith("_")}
        assert len(verbs) <= MOST_VERBS, name
