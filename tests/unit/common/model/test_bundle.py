"""Bundles on the wire: they come back as they were, and what is none is refused in one way."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.bundle import (
    BUNDLE_VERSION,
    MAX_BUNDLE_JOBS,
    Bundle,
    WireError,
    bundles_of,
    decode_bundle,
    encode_bundle,
)
from acked_common.model.instants import whole_ms

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
instants = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)).map(
    whole_ms
)
bundles = st.builds(Bundle, st.text(max_size=64), instants, st.lists(st.uuids(), min_size=1, max_size=40).map(tuple))


def message(
    *, version: object = BUNDLE_VERSION, lane: object = "demo", at: object = 0, ids: object = b"x" * 16
) -> bytes:
    return msgspec.msgpack.encode([version, lane, at, ids])


@given(bundles)
def test_a_bundle_comes_back_as_it_was(bundle: Bundle) -> None:
    assert decode_bundle(encode_bundle(bundle)) == bundle


def test_the_largest_bundle_fits_in_a_small_message() -> None:
    bundle = Bundle("demo", AT, tuple(uuid4() for _ in range(MAX_BUNDLE_JOBS)))
    data = encode_bundle(bundle)
    assert decode_bundle(data) == bundle
    assert len(data) < 17 * MAX_BUNDLE_JOBS


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_a_wire_error(data: bytes) -> None:
    try:
        found = decode_bundle(data)
    except WireError:
        return
    assert decode_bundle(encode_bundle(found)) == found


_parts = st.one_of(
    st.integers(min_value=-(2**63), max_value=2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=64),
    st.none(),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(st.lists(_parts, max_size=6))
def test_any_array_is_a_bundle_or_a_wire_error(parts: list[object]) -> None:
    try:
        decode_bundle(msgspec.msgpack.encode(parts))
    except WireError as error:
        assert str(error)


@given(bundles, st.data())
def test_a_damaged_bundle_is_a_bundle_or_a_wire_error(bundle: Bundle, data: st.DataObject) -> None:
    whole = bytearray(encode_bundle(bundle))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    for damaged in (bytes(whole), bytes(whole[:place])):
        try:
            decode_bundle(damaged)
        except WireError:
            continue


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a bundle"),
        (b"{}", "not a bundle"),
        (b"\x91" * 100_000, "not a bundle"),
        (message(version=BUNDLE_VERSION + 1), "bundle version 2"),
        (message(version="1"), "not a bundle"),
        (message(lane=7), "not a bundle"),
        (message(lane=None), "not a bundle"),
        (message(at=1.5), "not a bundle"),
        (message(at=2**63 - 1), "from the instant"),
        (message(at=-(2**63)), "from the instant"),
        (message(ids=b""), "0 bytes of ids"),
        (message(ids=b"x" * 15), "15 bytes of ids"),
        (message(ids=b"x" * 16 * (MAX_BUNDLE_JOBS + 1)), "bytes of ids"),
        (message(ids="x" * 16), "not a bundle"),
    ],
)
def test_what_is_no_bundle_is_told_apart(data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_bundle(data)


def test_a_later_version_may_append_fields() -> None:
    data = msgspec.msgpack.encode([BUNDLE_VERSION, "demo", 0, b"x" * 16, "new"])
    assert decode_bundle(data).ids == (UUID(bytes=b"x" * 16),)


@given(st.integers(1, 40), st.lists(st.tuples(st.uuids(), instants), max_size=100))
def test_bundles_hold_every_job_once_and_their_newest_instant(size: int, jobs: list[tuple[UUID, datetime]]) -> None:
    made = bundles_of("demo", size, jobs)
    assert [job_id for bundle in made for job_id in bundle.ids] == [job_id for job_id, _ in jobs]
    assert all(len(bundle.ids) == size for bundle in made[:-1])
    assert all(1 <= len(bundle.ids) <= size for bundle in made)
    for number, bundle in enumerate(made):
        assert bundle.queued_at == max(at for _, at in jobs[number * size : (number + 1) * size])
        assert bundle.lane == "demo"


def test_an_instant_is_kept_to_the_millisecond() -> None:
    bundle = Bundle("demo", AT + timedelta(microseconds=999), (uuid4(),))
    assert decode_bundle(encode_bundle(bundle)).queued_at == AT
