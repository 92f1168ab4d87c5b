"""Many ids as bytes: what the driver would make of them."""

from typing import Any

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions

from acked_common.model.ids import new_id
from acked_common.store.mongo.id_bytes import in_ids

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)


@pytest.mark.parametrize("count", [0, 1, 10, 11, 100, 256, 257, 1000, 2049])
def test_they_are_the_bytes_of_the_driver(count: int) -> None:
    ids = [new_id() for _ in range(count)]

    query = {"_id": in_ids(ids), "state": "queued"}

    wanted = {"_id": {"$in": ids}, "state": "queued"}
    assert bson.encode(query, codec_options=_OPTIONS) == bson.encode(wanted, codec_options=_OPTIONS)
