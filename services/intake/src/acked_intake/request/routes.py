"""Intake over HTTP: `POST /process`. Parses the request, calls the accept path, responds."""

import time
from typing import Any

from acked_common.api.operations import MAX_RETRY_AFTER_S
from acked_common.http.idempotency_key import key_in
from acked_common.http.limits import HeldBytes
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.runtime import failpoints
from acked_common.store.records import KeyHolder
from acked_intake.accept.acceptance import Acceptance
from acked_intake.request.accepting import Accepted, Accepting, status_path
from acked_intake.request.body import ClientLeft, Receive, Send, curl_line, discard_rest, is_of_lines, read_body
from acked_intake.request.many import ManyRequests
from acked_intake.request.operations import PROCESS
from acked_intake.settings import IntakeSettings

PROCESS_PATH = PROCESS.path
_BEFORE_THE_BODY = (413, 429)
"""Statuses of responses that are sent before the body has arrived."""


class ProcessEndpoint:
    """`POST /process` as a bare ASGI application: the hot path makes no request or response objects."""

    def __init__(self, acceptance: Acceptance, settings: IntakeSettings) -> None:
        self._accepting = Accepting(acceptance, settings)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["method"] != "POST":
            await self._answer_problem(send, _method_not_allowed(scope))
            return
        held = HeldBytes(scope)
        try:
            if is_of_lines(scope["headers"]):
                await self._answer_lines(scope, receive, send, held)
                return
            began = time.perf_counter()
            key_text = key_in(scope["headers"])
            body = await read_body(scope, receive, max_bytes=self._accepting.max_bytes, held=held)
            job, delay_s = await self._accepting.body(body, scope, key_text, began)
        except ProblemError as error:
            await self._answer_problem(send, error.problem, receive)
            return
        except ClientLeft:
            return
        finally:
            held.release()
        await self._answer_accepted(send, job, delay_s)

    async def _answer_lines(self, scope: Any, receive: Receive, send: Send, held: HeldBytes) -> None:
        many = ManyRequests(self._accepting, scope, held)
        try:
            await many.read(receive)
            await many.answer(send)
        finally:
            many.stop()

    async def _answer_accepted(self, send: Send, job: Accepted, delay_s: float) -> None:
        body = f"{{{self._accepting.members(job)}}}".encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"location", status_path(job).encode()),
            (b"retry-after", str(max(1, min(round(delay_s), MAX_RETRY_AFTER_S))).encode()),
        ]
        if isinstance(job, KeyHolder):
            headers.append((b"idempotency-replayed", b"true"))
        failpoints.reach("intake.answering")
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer_problem(self, send: Send, found: Problem, receive: Receive | None = None) -> None:
        body = found.to_bytes()
        await send({"type": "http.response.start", "status": found.status, "headers": found.raw_headers(body)})
        if receive is not None and found.status in _BEFORE_THE_BODY:
            # If the connection closed while the client still sends, the response would be lost.
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await discard_rest(receive)
            body = b""
        await send({"type": "http.response.body", "body": body})


def _method_not_allowed(scope: Any) -> Problem:
    line = curl_line(scope)
    return problem(
        "method-not-allowed",
        f"work is sent with POST. Try: {line}",
        extra={"example": line},
        headers={"Allow": "POST"},
    )
