"""OWNER of the names in stored documents that differ from those in the code. Pure.

Documents, indexes and the validator keep the names under which they were first stored, so that a database needs no
migration. The code has the names that say what is meant. Only this package knows both.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

STORED_NAMES: Mapping[str, str] = MappingProxyType({"id": "_id", "next_check_at": "wake", "delete_at": "expire_at"})
"""Names in the code with those in documents; all other names are the same."""

NEXT_CHECK_AT = STORED_NAMES["next_check_at"]
DELETE_AT = STORED_NAMES["delete_at"]


def stored_name(name: str) -> str:
    """Returns the name in documents of a field of the code."""
    return STORED_NAMES.get(name, name)


def stored_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields under their names in documents, in the same order."""
    return {STORED_NAMES.get(name, name): value for name, value in fields.items()}
