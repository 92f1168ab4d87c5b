"""Take one text of a client through the accept path: parse it, check what the client may do, persist it as a job."""

import time
from functools import lru_cache
from typing import Any

from acked_common.api.authenticator import check_permission
from acked_common.http.limits import client_of
from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.call_targets import AllowedHosts, check_target, target_of
from acked_common.model.callbacks import Callback
from acked_common.model.instants import rfc3339
from acked_common.model.principal import Permission, principal_of
from acked_common.runtime import failpoints
from acked_common.runtime.metrics import COMMIT_BOUNDS_S, LoopHistogram
from acked_common.store.records import KeyHolder, NewJob
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.submission import Submission, parse_line, parse_submission
from acked_intake.request.parsing import parse_fairly
from acked_intake.settings import IntakeSettings

_took = LoopHistogram(
    "acked_accept_duration_seconds",
    "Time from the start of a body to its 202, replays of idempotency keys included.",
    bounds=COMMIT_BOUNDS_S,
).of(())

_text_of = lru_cache(maxsize=64)(rfc3339)
"""Jobs of one group commit were accepted within a few different milliseconds."""

Accepted = NewJob | KeyHolder
"""A new job, or the one that an earlier request with the same key created."""


class Accepting:
    """The processing of each request of `POST /process`, single or a line of many. Its methods raise
    `ProblemError`."""

    def __init__(self, acceptance: Acceptance, settings: IntakeSettings) -> None:
        self._acceptance = acceptance
        self.max_bytes = settings.max_body_bytes
        self._callback_allow = settings.common.callback_allow
        feed = settings.gateway_url.replace("http", "ws", 1) + "/ws/feed"
        self._tail = f',"feed":"{feed}"}}'

    async def body(self, text: bytes, scope: Any, key_text: str | None, began: float) -> tuple[Accepted, float]:
        """Accept a whole body that arrived from `began` on. Return the job and the requested delay."""
        client = client_of(scope)
        submission = await parse_fairly(parse_submission, text, max_bytes=self.max_bytes, client=client)
        return await self._accept(submission, scope, key_text, began), submission.delay_s

    async def line(self, text: bytes, scope: Any) -> tuple[Accepted, str]:
        """Accept one line. Return the job and the line's key."""
        began = time.perf_counter()
        client = client_of(scope)
        submission, key = await parse_fairly(parse_line, text, max_bytes=self.max_bytes, client=client)
        return await self._accept(submission, scope, key, began), key

    def members(self, job: Accepted) -> str:
        """Return the client's view of its job, as members of a JSON object without the braces.

        Job id and kind contain no character to escape, so no JSON encoder is needed.
        """
        state = job.state if isinstance(job, KeyHolder) else job.lifecycle["state"]
        return (
            f'"id":"{job.id}","state":"{state.value}","kind":"{job.kind}",'
            f'"accepted_at":"{_text_of(job.accepted_at)}","links":{{"status":"{status_path(job)}"{self._tail}'
        )

    async def _accept(self, submission: Submission, scope: Any, key_text: str | None, began: float) -> Accepted:
        failpoints.reach("intake.parsed")
        client = principal_of(scope)
        if submission.edited_from is not None:
            check_permission(client, Permission.OPERATE)
        if submission.callback is not None:
            check_callback(submission.callback, self._callback_allow)
        job = await self._acceptance.accept(submission, client=client, key_text=key_text)
        _took.observe(time.perf_counter() - began)
        return job


def check_callback(callback: Callback, allowed: AllowedHosts) -> None:
    """Raise the problem `invalid-field` unless this installation may call the URL."""
    try:
        check_target(target_of(callback.url), allowed)
    except ValueError as error:
        errors: list[ErrorAt] = [{"pointer": "/callback/url", "detail": str(error)}]
        raise ProblemError(problem("invalid-field", f"callback/url {error}", errors=errors)) from None


def status_path(job: Accepted) -> str:
    """Return the path of a job's status."""
    return f"/status/{job.id}"
