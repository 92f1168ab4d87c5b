"""Intake over HTTP: `POST /process`. Parses the request, calls the accept path, responds."""

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from acked_common.api.authenticator import check_permission
from acked_common.api.operations import MAX_RETRY_AFTER_S
from acked_common.http import fair_thread
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.idempotency_key import key_in
from acked_common.http.limits import Client, HeldBytes, client_of
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.model import strict_json
from acked_common.model.instants import rfc3339
from acked_common.model.principal import Permission, principal_of
from acked_common.model.strict_json import SCANNED_ON_LOOP_BYTES, NeedsScan
from acked_common.runtime import failpoints
from acked_common.runtime.metrics import COMMIT_BOUNDS_S, LoopHistogram
from acked_common.store.records import KeyHolder, NewJob
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.submission import Submission, parse_submission
from acked_intake.request.body import ClientLeft, Receive, curl_line, discard_rest, read_body
from acked_intake.request.operations import PROCESS
from acked_intake.settings import IntakeSettings

Send = Callable[[dict[str, Any]], Awaitable[None]]

PROCESS_PATH = PROCESS.path
_BEFORE_THE_BODY = (413, 429)
"""Statuses of responses that are sent before the body has arrived."""

_took = LoopHistogram(
    "acked_accept_duration_seconds",
    "Time from the start of a body to its 202, replays of idempotency keys included.",
    bounds=COMMIT_BOUNDS_S,
).of(())

_text_of = lru_cache(maxsize=64)(rfc3339)
"""Jobs of one group commit were accepted within a few different milliseconds."""


class ProcessEndpoint:
    """`POST /process` as a bare ASGI application: the hot path makes no request or response objects."""

    def __init__(self, acceptance: Acceptance, settings: IntakeSettings) -> None:
        self._acceptance = acceptance
        self._max_bytes = settings.max_body_bytes
        # Job id and kind contain no character to escape, so the response needs no JSON encoder.
        feed = settings.gateway_url.replace("http", "ws", 1) + "/ws/feed"
        self._tail = f',"feed":"{feed}"}}}}'.encode()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["method"] != "POST":
            await self._answer_problem(send, _method_not_allowed(scope))
            return
        held = HeldBytes(scope)
        began = time.perf_counter()
        try:
            key_text = key_in(scope["headers"])
            body = await read_body(scope, receive, max_bytes=self._max_bytes, held=held)
            submission = await check_and_parse(body, max_bytes=self._max_bytes, client=client_of(scope))
            failpoints.reach("intake.parsed")
            client = principal_of(scope)
            if submission.edited_from is not None:
                check_permission(client, Permission.OPERATE)
            job = await self._acceptance.accept(submission, client=client, key_text=key_text)
        except ProblemError as error:
            await self._answer_problem(send, error.problem, receive)
            return
        except ClientLeft:
            return
        finally:
            held.release()
        _took.observe(time.perf_counter() - began)
        await self._answer_accepted(send, job, submission.delay_s)

    async def _answer_accepted(self, send: Send, job: NewJob | KeyHolder, delay_s: float) -> None:
        state = job.state if isinstance(job, KeyHolder) else job.lifecycle["state"]
        job_id = str(job.id)
        status_path = f"/status/{job_id}"
        body = (
            f'{{"id":"{job_id}","state":"{state.value}","kind":"{job.kind}",'
            f'"accepted_at":"{_text_of(job.accepted_at)}","links":{{"status":"{status_path}"'
        ).encode() + self._tail
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"location", status_path.encode()),
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


async def check_and_parse(body: bytes, *, max_bytes: int = strict_json.MAX_BYTES, client: Client = None) -> Submission:
    """Parse a submission. A thread parses large and suspicious bodies, so that they do not block the loop; clients take
    turns at it."""
    may_scan = len(body) <= SCANNED_ON_LOOP_BYTES
    try:
        if len(body) <= ON_LOOP_BYTES:
            return parse_submission(body, max_bytes=max_bytes, may_scan=may_scan)
        return await fair_thread.quick.run(client, lambda: parse_submission(body, max_bytes=max_bytes, may_scan=False))
    except NeedsScan:
        return await fair_thread.slow.run(client, lambda: parse_submission(body, max_bytes=max_bytes))


def _method_not_allowed(scope: Any) -> Problem:
    line = curl_line(scope)
    return problem(
        "method-not-allowed",
        f"work is sent with POST. Try: {line}",
        extra={"example": line},
        headers={"Allow": "POST"},
    )
