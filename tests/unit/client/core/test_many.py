"""Rows: one outcome each, in order, whatever the order in which they end; and resumption."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_client import ProblemError, Submission, problems
from acked_client.core.failures import error_of
from acked_client.core.jobs import Submitted
from acked_client.core.many import OF_A_ROW, ManyRows, Row
from acked_client.model.jobs import Accepted, AcceptedLinks
from support.client_flows import refused


def accepted(row: Row) -> Submitted:
    links = AcceptedLinks(status="", feed="")
    made = Accepted(id=row.idempotency_key, state="queued", kind="k", accepted_at=datetime.now(UTC), links=links)
    return Submitted(made, row.idempotency_key, False)


def rows(count: int) -> Iterator[Submission]:
    return (Submission(kind="k", payload=number) for number in range(count))


@given(st.integers(0, 40), st.integers(1, 10), st.data())
def test_outcomes_come_in_order_and_no_row_is_left_out(count: int, window: int, data: st.DataObject) -> None:
    many = ManyRows(rows(count), "p", window)
    under_way: list[Row] = []
    given_out: list[Any] = []
    while not many.is_done:
        while (row := many.take()) is not None:
            under_way.append(row)
        assert len(under_way) <= window
        if under_way:
            ended = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            status = data.draw(st.sampled_from([202, *sorted(OF_A_ROW)]))
            problem = error_of(refused("invalid-field", status))
            many.settle(ended, accepted(ended) if status == 202 else problem)
        given_out += many.ready()
    assert [outcome.row.index for outcome in given_out] == list(range(count))
    assert [outcome.row.idempotency_key for outcome in given_out] == [f"p:{number}" for number in range(count)]
    assert all((outcome.submitted is None) == isinstance(outcome.error, ProblemError) for outcome in given_out)


def test_lost_server_ends_the_call_behind_all_earlier_rows() -> None:
    many = ManyRows(rows(100), "p", 4)
    first, second, third, fourth = (many.take() for _ in range(4))
    assert first and second and third and fourth and many.take() is None
    many.settle(third, error_of(refused("no-token", 401)))
    many.settle(fourth, error_of(refused("store-unreachable", 503)))
    many.settle(first, accepted(first))
    assert [outcome.row.index for outcome in many.ready()] == [0]
    assert many.take() is None, "nothing more is sent"
    many.settle(second, accepted(second))
    found = many.ready()
    assert next(found).row.index == 1
    with pytest.raises(problems.NoToken):
        next(found)


def test_keys_of_rows_stay() -> None:
    many = ManyRows([Submission(kind="k", idempotency_key="mine"), Submission(kind="k")], "p", 2)
    first, second = many.take(), many.take()
    assert first and second and (first.idempotency_key, second.idempotency_key) == ("mine", "p:1")


def test_payload_that_is_no_json_ends_the_call_at_its_row() -> None:
    many = ManyRows(rows(2), "p", 2)
    first, second = many.take(), many.take()
    assert first and second
    many.settle(second, TypeError("no JSON"))
    many.settle(first, accepted(first))
    found = many.ready()
    assert next(found).row.index == 0
    with pytest.raises(TypeError, match="no JSON"):
        next(found)
