"""The query parameters that lists share."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.api.list_parameters import instant, page_size, page_token, position
from acked_common.http.problems import ProblemError

NOW = datetime(2026, 11, 24, 10, 6, 45, tzinfo=UTC)
ID = UUID("01a20d05-adf2-7315-9ee6-8162dae54aa3")
FILTERS = {"tenant": "acme", "client": None, "action": "retry"}


def pointer(caught: pytest.ExceptionInfo[ProblemError]) -> str:
    assert caught.value.problem.name == "invalid-field"
    return caught.value.problem.errors[0]["pointer"]


@pytest.mark.parametrize(("text", "size"), [(None, 50), ("", 50), ("0", 1), ("7", 7), ("200", 200), ("999999999", 200)])
def test_a_page_size_is_bounded(text: str | None, size: int) -> None:
    assert page_size(text, default=50, most=200) == size


@pytest.mark.parametrize("text", ["-1", "+1", "1.0", "x", "1_0", "9" * 10, "9" * 5000])
def test_another_page_size_is_refused(text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        page_size(text, default=50, most=200)
    assert pointer(caught) == "?page_size"


@given(st.uuids())
def test_a_token_leads_back_to_its_place(before: UUID) -> None:
    assert position(page_token(before, FILTERS), FILTERS) == before
    assert position(page_token(before, FILTERS), {name: text for name, text in FILTERS.items() if text}) == before


def test_without_a_token_a_list_begins() -> None:
    assert position(None, FILTERS) is position("", FILTERS) is None


@pytest.mark.parametrize(
    "token", ["x", "AAAA", page_token(ID, FILTERS) + "A", page_token(ID, FILTERS)[:-1] + "é", "=" * 30]
)
def test_a_token_that_nobody_gave_is_refused(token: str) -> None:
    with pytest.raises(ProblemError) as caught:
        position(token, FILTERS)
    assert pointer(caught) == "?page_token"


def test_a_token_of_other_filters_is_refused() -> None:
    with pytest.raises(ProblemError, match="other filters"):
        position(page_token(ID, FILTERS), {**FILTERS, "tenant": "globex"})


def test_a_plus_that_became_a_space_is_read_as_meant() -> None:
    assert instant("since", "2026-11-24T12:06:45 02:00", NOW) == NOW
    assert instant("since", None, NOW) is instant("since", "", NOW) is None
    with pytest.raises(ProblemError, match="such as 15m") as caught:
        instant("until", "yesterday", NOW)
    assert pointer(caught) == "?until"
