"""BSON elements that this package encodes instead of the driver. Pure; https://bsonspec.org/spec.html."""

from struct import Struct
from uuid import UUID

length = Struct("<i").pack
"""The length in front of documents, texts and binaries."""

_UUID_HEAD = length(16) + b"\x04"


def uuid_value(id_: UUID) -> bytes:
    """Return a UUID as the value of an element of type 5, binary."""
    return _UUID_HEAD + id_.int.to_bytes(16)


def enclosed(elements: bytes) -> bytes:
    """Return the document, or the array, of these elements."""
    return length(4 + len(elements) + 1) + elements + b"\0"
