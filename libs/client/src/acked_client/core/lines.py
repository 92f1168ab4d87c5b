"""Submit rows as the lines of one request: newline-delimited JSON, and a line with the outcome of each. Pure.

A row that the server could not take now is sent again with the same key, together with the others of its chunk that
fared alike, until the budget of the call is spent. So is the whole chunk if the connection was lost.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from acked_client.core import json_text
from acked_client.core.effects import LINES, Flow, Pause, Request, Response, Stopwatch
from acked_client.core.exchange import LOOKED_AT, Session, exchange
from acked_client.core.failures import MEDIA_TYPE, error_of
from acked_client.core.jobs import Submitted, members_of
from acked_client.core.many import Row
from acked_client.core.retry import REPEATED, next_wait_s
from acked_client.model.errors import AckedError, UnexpectedResponse
from acked_client.model.jobs import Accepted

MOST_BYTES = 4 * 2**20
"""Of the lines of one request, unless a single row has more; the server takes 16 MiB."""
_ACCEPTED = 202
_WHERE = f"POST {LOOKED_AT}"

Outcome = Submitted | Exception


class _Refused(msgspec.Struct):
    status: int
    problem: msgspec.Raw = msgspec.Raw(b"null")
    retry_after_s: float | None = None
    replayed: bool = False


def submit_rows(session: Session, rows: Sequence[Row]) -> Flow[list[Outcome]]:
    """Submit rows; a retry creates no second job. Return their outcomes in order."""
    outcomes: dict[int, Outcome] = {}
    lines: dict[int, bytes] = {}
    for row in rows:
        try:
            lines[row.index] = _line(row)
        except (TypeError, ValueError) as error:
            outcomes[row.index] = error
    while unsent := [row for row in rows if row.index not in outcomes]:
        yield from _submit_piece(session, _piece(unsent, lines), lines, outcomes)
    return [outcomes[row.index] for row in rows]


def _submit_piece(
    session: Session, rows: Sequence[Row], lines: dict[int, bytes], outcomes: dict[int, Outcome]
) -> Flow[None]:
    """Submit rows that fit into one request, until each has its outcome."""
    watch = Stopwatch()
    failures = 0
    while rows:
        body = b"\n".join(lines[row.index] for row in rows)
        request = Request("POST", LOOKED_AT, body=body, of_intake=True, media_type=LINES)
        bounded = session.with_budget(max(session.policy.budget_s - watch.elapsed_s, 0.0)) if failures else session
        try:
            response = yield from watch.time(exchange(bounded, request))
            found = _responses(response, rows)
        except AckedError as error:
            error.idempotency_key = rows[0].idempotency_key
            outcomes.update(dict.fromkeys((row.index for row in rows), error))
            return
        later: list[Row] = []
        pause_s = 0.0
        for row, one in zip(rows, found, strict=True):
            wait_s = None
            if one.status in REPEATED:
                fraction = session.random.random()
                wait_s = next_wait_s(
                    session.policy, one, failures=failures, elapsed_s=watch.elapsed_s, fraction=fraction
                )
            if wait_s is None:
                outcomes[row.index] = _outcome(row, one)
            else:
                later.append(row)
                pause_s = max(pause_s, wait_s)
        if later:
            failures += 1
            yield from watch.time(_pause(pause_s))
        rows = later


def _line(row: Row) -> bytes:
    return json_text.encode({"idempotency_key": row.idempotency_key, **members_of(row.submission)})


def _piece(rows: Sequence[Row], lines: dict[int, bytes]) -> Sequence[Row]:
    """Return the first of the rows, as many as one request takes."""
    size = 0
    for at, row in enumerate(rows):
        size += len(lines[row.index]) + 1
        if at and size > MOST_BYTES:
            return rows[:at]
    return rows


def _pause(seconds: float) -> Flow[None]:
    yield Pause(seconds)


def _responses(response: Response, rows: Sequence[Row]) -> list[Response]:
    """Return each line as the response that a single request would have had. Raise `UnexpectedResponse`."""
    texts = response.body.splitlines()
    try:
        found = [(text, msgspec.json.decode(text, type=_Refused)) for text in texts]
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = []
    if len(found) != len(rows):
        raise UnexpectedResponse(
            f"{_WHERE}: {len(texts)} outcomes for {len(rows)} lines, not from Acked", status=response.status
        )
    return [_response(text, one) for text, one in found]


def _response(text: bytes, one: _Refused) -> Response:
    if one.status == _ACCEPTED:
        return Response(_ACCEPTED, {"idempotency-replayed": "true"} if one.replayed else {}, text)
    headers = {"content-type": MEDIA_TYPE}
    if one.retry_after_s is not None:
        headers["retry-after"] = f"{one.retry_after_s:.0f}"
    return Response(one.status, headers, bytes(one.problem))


def _outcome(row: Row, response: Response) -> Outcome:
    if response.status != _ACCEPTED:
        return error_of(response, idempotency_key=row.idempotency_key, where=_WHERE)
    try:
        accepted: Any = json_text.decode(response.body, Accepted, response.status)
    except AckedError as error:
        error.idempotency_key = row.idempotency_key
        return error
    return Submitted(accepted, row.idempotency_key, "idempotency-replayed" in response.headers)
