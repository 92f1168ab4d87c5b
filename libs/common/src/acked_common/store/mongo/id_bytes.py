"""Many ids as the bytes of a query. Pure.

Each job's id goes to MongoDB three times on its way. Measured with 256 of them, the driver takes 1.0 µs to encode a
UUID; put together here it takes 0.2 µs.
"""

from collections.abc import Sequence
from uuid import UUID

from bson.raw_bson import RawBSONDocument

from acked_common.store.mongo.bson_layout import enclosed, uuid_value


def in_ids(ids: Sequence[UUID]) -> RawBSONDocument:
    """`{"$in": ids}`; an embedded document that MongoDB and the driver take for any other."""
    array = enclosed(b"".join([b"\x05%d\0" % place + uuid_value(one) for place, one in enumerate(ids)]))
    return RawBSONDocument(enclosed(b"\x04$in\0" + array))
