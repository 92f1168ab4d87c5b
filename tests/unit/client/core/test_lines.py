"""Rows as the lines of one request: one outcome each, and what is sent again."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from acked_client import NoResponse, RetryPolicy, Submission, UnexpectedResponse, problems
from acked_client.core import lines
from acked_client.core.effects import LINES, Request, Response
from acked_client.core.jobs import Submitted
from acked_client.core.lines import submit_rows
from acked_client.core.many import CHUNK_ROWS, ManyRows, Row
from support.client_flows import ACCEPTED, LOST, Script, refused, session

Server = Callable[[dict[str, Any], int], dict[str, Any]]


def rows(*payloads: Any) -> list[Row]:
    return ManyRows((Submission(kind="k", payload=one) for one in payloads), "p", 10_000).take_chunk()


def sent(request: Request) -> list[dict[str, Any]]:
    assert (request.media_type, request.idempotency_key) == (LINES, None)
    assert request.body is not None
    return [json.loads(text) for text in request.body.split(b"\n")]


def accepted(line: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "status": 202,
        "idempotency_key": line["idempotency_key"],
        **ACCEPTED,
        "id": line["idempotency_key"],
        **more,
    }


def problem(name: str, status: int, **more: Any) -> dict[str, Any]:
    return {"status": status, "problem": json.loads(refused(name, status).body), **more}


def outcomes(request: Request, server: Server, number: int) -> Response:
    found = [{"line": at, **server(line, number)} for at, line in enumerate(sent(request), 1)]
    return Response(200, {"content-type": LINES}, b"".join(json.dumps(one).encode() + b"\n" for one in found))


def serves(server: Server) -> Script:
    """Outcomes from a function of a line and the number of requests before."""
    before = iter(range(1000))
    return Script(lambda request: outcomes(request, server, next(before)))


def test_rows_are_lines_with_keys_and_outcomes_in_order() -> None:
    script = serves(lambda line, _: accepted(line) if line["payload"] != 2 else problem("unknown-kind", 422))
    first, second, third = script.run(submit_rows(session(), rows(1, 2, 3)))
    (request,) = script.requests
    assert sent(request)[2] == {"idempotency_key": "p:2", "kind": "k", "payload": 3}
    assert isinstance(first, Submitted) and first.accepted.id == first.idempotency_key == "p:0"
    assert isinstance(second, problems.UnknownKind) and second.idempotency_key == "p:1"
    assert isinstance(third, Submitted) and not third.is_replay


def test_replays_are_told() -> None:
    (found,) = serves(lambda line, _: accepted(line, replayed=True)).run(submit_rows(session(), rows(1)))
    assert isinstance(found, Submitted) and found.is_replay


def test_rows_that_can_not_be_taken_now_are_sent_again() -> None:
    script = serves(
        lambda line, number: accepted(line) if number or line["payload"] == 1 else problem("busy", 503, retry_after_s=2)
    )
    found = script.run(submit_rows(session(), rows(1, 2, 3)))
    assert all(isinstance(one, Submitted) for one in found)
    assert [line["idempotency_key"] for line in sent(script.requests[1])] == ["p:1", "p:2"]
    assert len(script.pauses) == 1 and script.pauses[0] >= 2.0


def test_budget_ends_repetitions() -> None:
    script = serves(lambda line, _: problem("quota-exceeded", 503, retry_after_s=7))
    (found,) = script.run(submit_rows(session(RetryPolicy(budget_s=20.0)), rows(1)))
    assert isinstance(found, problems.QuotaExceeded) and found.retry_after_s == 7
    assert 1 < len(script.requests) <= 3


def test_lost_response_sends_the_whole_chunk_again() -> None:
    before = iter(range(1000))
    script = Script(lambda request: outcomes(request, lambda line, _: accepted(line), 1) if next(before) else LOST)
    found = script.run(submit_rows(session(), rows(1, 2)))
    assert all(isinstance(one, Submitted) for one in found)
    first, second = script.requests
    assert first == second


def test_server_that_stays_lost_is_the_error_of_every_row() -> None:
    found = Script(lambda _: LOST).run(submit_rows(session(RetryPolicy(budget_s=1.0)), rows(1, 2)))
    assert all(isinstance(one, NoResponse) for one in found)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"line":1,"status":202}\n', b"\xff\n\xff\n"])
def test_response_that_is_no_outcomes_is_unexpected(body: bytes) -> None:
    found = Script(lambda _: Response(200, {}, body)).run(submit_rows(session(), rows(1, 2)))
    assert all(isinstance(one, UnexpectedResponse) for one in found)


def test_payload_that_is_no_json_is_the_error_of_its_row() -> None:
    first, second = serves(lambda line, _: accepted(line)).run(submit_rows(session(), rows(object(), 2)))
    assert isinstance(first, TypeError) and isinstance(second, Submitted)


def test_large_rows_travel_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES", 300)
    script = serves(lambda line, _: accepted(line))
    found = script.run(submit_rows(session(), rows("x", "x", "x" * 250, "y" * 500)))
    assert all(isinstance(one, Submitted) for one in found)
    assert [len(sent(request)) for request in script.requests] == [2, 1, 1]


def test_chunks_are_bounded() -> None:
    many = ManyRows((Submission(kind="k") for _ in range(CHUNK_ROWS + 3)), "p", 10_000)
    assert [len(many.take_chunk()) for _ in range(3)] == [CHUNK_ROWS, 3, 0]
