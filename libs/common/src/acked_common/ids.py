"""Job ids: UUIDv7 (RFC 9562), so that ids sort by the time of their making."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A new id."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def parse_id(text: str) -> UUID | None:
    """The id in the text in its usual form, or None."""
    if len(text) != 36 or not text.isascii():
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
