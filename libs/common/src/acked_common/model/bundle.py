"""OWNER of the encoding of bundles on a lane. Pure.

A bundle is MessagePack: `[version, lane, queued_at_ms, ids]`; `ids` concatenates the 16 bytes of each id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from acked_common.model.ids import numbered_id

BUNDLE_VERSION = 1
MAX_BUNDLE_JOBS = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WireError(Exception):
    """A message that this version can't read."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Ids of jobs of one lane, and the newest `queued_at` among them."""

    lane: str
    queued_at: datetime
    ids: tuple[UUID, ...]


class _BundleMessage(msgspec.Struct, array_like=True, frozen=True):
    version: int
    lane: str
    queued_at_ms: int
    ids: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_BundleMessage)


def encode_bundle(bundle: Bundle) -> bytes:
    """Encode a bundle."""
    queued_at_ms = (bundle.queued_at - _EPOCH) // timedelta(milliseconds=1)
    return _encoder.encode(
        _BundleMessage(
            BUNDLE_VERSION, bundle.lane, queued_at_ms, b"".join([job_id.int.to_bytes(16) for job_id in bundle.ids])
        )
    )


def decode_bundle(data: bytes) -> Bundle:
    """Decode a bundle. Raises `WireError`."""
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a bundle: {error}") from None
    if message.version != BUNDLE_VERSION:
        raise WireError(f"bundle version {message.version}; this version reads {BUNDLE_VERSION}")
    size = len(message.ids)
    if size == 0 or size % 16 or size > 16 * MAX_BUNDLE_JOBS:
        raise WireError(f"a bundle of {size} bytes of ids")
    ids = tuple(numbered_id(int.from_bytes(message.ids[i : i + 16])) for i in range(0, size, 16))
    try:
        queued_at = _EPOCH + timedelta(milliseconds=message.queued_at_ms)
    except OverflowError:
        raise WireError(f"a bundle from the instant {message.queued_at_ms} ms") from None
    return Bundle(message.lane, queued_at, ids)


def bundles_of(lane: str, size: int, jobs: Sequence[tuple[UUID, datetime]]) -> list[Bundle]:
    """Split `(id, queued_at)` pairs of one lane into bundles of at most `size` jobs."""
    bundles = []
    for start in range(0, len(jobs), size):
        part = jobs[start : start + size]
        bundles.append(Bundle(lane, max([at for _, at in part]), tuple([job_id for job_id, _ in part])))
    return bundles
