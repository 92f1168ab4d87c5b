"""Job ids: they sort by the time of their making, and only their usual form is read."""

import pickle
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.ids import new_id, numbered_id, parse_id


def test_ids_are_uuids_of_version_7_that_sort_by_their_making() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {(i.version, i.variant) for i in ids} == {(7, "specified in RFC 4122")}
    assert ids == sorted(ids)


@given(st.uuids())
def test_an_id_is_the_uuid_of_its_number(expected: UUID) -> None:
    made = numbered_id(expected.int)
    assert (made, hash(made), str(made), made.bytes) == (expected, hash(expected), str(expected), expected.bytes)
    assert (repr(made), pickle.loads(pickle.dumps(made)), made.is_safe) == (repr(expected), expected, expected.is_safe)  # noqa: S301


@given(st.uuids())
def test_an_id_is_read_back_in_either_case(job_id: UUID) -> None:
    assert parse_id(str(job_id)) == job_id
    assert parse_id(str(job_id).upper()) == job_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0" * 32,
        "{01234567-89ab-7def-8123-456789abcdef}",
        "urn:uuid:01234567-89ab-7def-8123-456789abcdef",
        "01234567-89ab-7def-8123-456789abcdeg",
        "01234567-89ab-7def-8123-456789abcde\u0663",
        " 1234567-89ab-7def-8123-456789abcdef ",
    ],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_id(text) is None


@given(st.text(min_size=36, max_size=36))
def test_no_text_breaks_the_reading(text: str) -> None:
    found = parse_id(text)
    assert found is None or isinstance(found, UUID)
