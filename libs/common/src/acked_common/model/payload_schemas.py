"""OWNER of what a stored payload schema is: its text, its digest, its limits. Pure.

A kind keeps one schema for each version that workers serve. Two versions with equal schemas share one, and a handler
whose schema changed without a new `version` has two: so the digest of the text names a schema, not the version.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from acked_common.model.strict_json import MAX_DEPTH

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_DEPTH = 2 * MAX_DEPTH
SCHEMAS_KEPT = 8
"""The maximum of schemas of a kind. A live worker with another one is as one without a schema: nothing is checked."""
KEPT_FOR_S = 600.0
"""A schema that no worker has registered for so long is removed with the next registration; workers register every
30 s."""
_DIGEST_CHARS = 16

_encode = msgspec.json.Encoder(order="deterministic").encode


class PayloadSchema(msgspec.Struct, frozen=True):
    """One schema of a kind's payloads. `text` is JSON."""

    digest: str
    version: str
    """Of the handler, as its author wrote it."""
    text: str


class ServedSchemas(msgspec.Struct, frozen=True):
    """The schemas of a kind that count now."""

    schemas: Sequence[PayloadSchema] = ()
    """Of the live workers that serve the kind, or the newest one if none does. The newest comes first."""
    is_checked: bool = False
    """Whether intake checks payloads: each version that is served has a schema."""


UNCHECKED = ServedSchemas()


def stored_text(schema: Mapping[str, Any] | None) -> str | None:
    """Return the text of a schema as it is stored, equal for equal schemas; None if it is beyond the limits."""
    if schema is None:
        return None
    try:
        text = _encode(schema)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return None
    return text.decode() if len(text) <= MAX_SCHEMA_BYTES and depth_of(schema) <= MAX_SCHEMA_DEPTH else None


def depth_of(value: Any) -> int:
    """Return how deep objects and arrays are nested; at most `MAX_SCHEMA_DEPTH` + 1 levels are counted."""
    depth, level = 0, [value]
    while level and depth <= MAX_SCHEMA_DEPTH:
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one if isinstance(one, list | tuple) else ())
            if isinstance(below, dict | list | tuple)
        ]
        depth += 1
    return depth


@lru_cache(maxsize=2048)
def digest_of(text: str) -> str:
    """Return the digest of a schema's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


@lru_cache(maxsize=2048)
def parsed(text: str) -> Mapping[str, Any]:
    """Return a stored schema; equal texts share one, which no caller may change."""
    found: Mapping[str, Any] = msgspec.json.decode(text, type=dict)
    return found
