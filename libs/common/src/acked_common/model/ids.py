"""Job ids: UUIDv7 (RFC 9562), so that ids sort by the time of their making."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, SafeUUID

import uuid_utils

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BITS_BEHIND_TIME = 80
_BEHIND_TIME = (1 << _BITS_BEHIND_TIME) - 1


def new_id() -> UUID:
    """A new id."""
    return numbered_id(uuid_utils.uuid7().int)


def id_at(at: datetime) -> UUID:
    """A new id as if it were made at this instant: it sorts by its milliseconds."""
    return numbered_id(first_id_at(at).int | uuid_utils.uuid7().int & _BEHIND_TIME)


def first_id_at(at: datetime) -> UUID:
    """The bound below which stand the ids that were made before this instant's millisecond; itself no id."""
    return numbered_id(((at - _EPOCH) // timedelta(milliseconds=1)) << _BITS_BEHIND_TIME)


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
