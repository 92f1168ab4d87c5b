"""Job ids: UUIDv7 (RFC 9562), so that ids sort by the time of their making."""

from uuid import UUID, SafeUUID

import uuid_utils


def new_id() -> UUID:
    """A new id."""
    return numbered_id(uuid_utils.uuid7().int)


def numbered_id(number: int) -> UUID:
    """The id with this number, 0 to 2**128 - 1."""
    # As `UUID(int=…)` without its checks of what it was given: they take three times as long as all else.
    made = object.__new__(UUID)
    object.__setattr__(made, "int", number)
    object.__setattr__(made, "is_safe", SafeUUID.unknown)
    return made


def parse_id(text: str) -> UUID | None:
    """The id in the text in its usual form, or None."""
    if len(text) != 36 or not text.isascii():
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
