"""OWNER of the names in stored documents that differ from those in the code. Pure.

Documents, indexes and the validator use the names under which fields were first stored, so a database needs no
migration. The code uses clearer names. Only this package knows both.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

STORED_NAMES: Mapping[str, str] = MappingProxyType({"id": "_id", "next_check_at": "wake", "delete_at": "expire_at"})
"""Document names by name in the code; all other names are equal."""

NEXT_CHECK_AT = STORED_NAMES["next_check_at"]
WAITING_INDEX = "waiting_for"
"""The index of parked jobs by what they wait for."""
DELETE_AT = STORED_NAMES["delete_at"]
PLACE = "owner.place"
TENANT_PLACE = "owner.tenant_place"
HELD = "limit"
"""The `reserved_by` of a queued job without a message, which waits for a place of its kind's limit. All other values
are nonces. Every claim and every end clears the field anyway, so held jobs cost other jobs nothing."""


def stored_name(name: str) -> str:
    """Return the name in documents of a field of the code."""
    return STORED_NAMES.get(name, name)


def stored_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under their names in documents, in the same order."""
    return {STORED_NAMES.get(name, name): value for name, value in fields.items()}
