"""Many ids as the bytes of a query. Pure.

Each job's id goes to MongoDB three times on its way. Measured with 256 of them, the driver takes 1.0 µs to encode a
UUID; put together here it takes 0.1 µs. The layout is that of https://bsonspec.org/spec.html.
"""

from collections.abc import Sequence
from functools import cache
from struct import Struct
from uuid import UUID

from bson.raw_bson import RawBSONDocument

_length = Struct("<i").pack
_UUID_BYTES = 16
_UUID_SUBTYPE = b"\x04"


def in_ids(ids: Sequence[UUID]) -> RawBSONDocument:
    """`{"$in": ids}`; an embedded document that MongoDB and the driver take for any other."""
    items = [head + one.int.to_bytes(_UUID_BYTES) for head, one in zip(_heads(_rounded(len(ids))), ids, strict=False)]
    array = _enclosed(b"".join(items))
    return RawBSONDocument(_enclosed(b"\x04$in\0" + array))


def _enclosed(elements: bytes) -> bytes:
    return _length(4 + len(elements) + 1) + elements + b"\0"


def _rounded(count: int) -> int:
    """Few sizes, so that few tables of heads are kept."""
    return 1 << max(8, (count - 1).bit_length())


@cache
def _heads(count: int) -> list[bytes]:
    """What stands ahead of each id in an array: type, position, length and subtype."""
    return [b"\x05%d\0" % place + _length(_UUID_BYTES) + _UUID_SUBTYPE for place in range(count)]
