"""The calls about one job. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from acked_client.core import json_text
from acked_client.core.effects import Flow, Pause, Request, Response, Stopwatch
from acked_client.core.exchange import LOOKED_AT, Session, exchange, fetch
from acked_client.model.errors import AckedError, JobCancelled, JobFailed, StillRunning
from acked_client.model.jobs import Accepted, JobStatus, SentSignal
from acked_client.model.requests import Callback, Resolution, Submission
from acked_client.model.states import State

POLL_S = 30.0
"""The wait of one long poll; the services allow 60 s."""
_HURRY_S = 0.2
"""A long poll that came back early is not repeated at once: the process that served it stops."""

_EFFECTS = {"retry": {"retried"}, "run-now": {"run_now", "woken"}, "resolve": {"resolved"}}
"""Commands that would have their effect twice if they were repeated, and the reasons of their transitions."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job. `is_replay` is true if an earlier request with the key created it."""

    accepted: Accepted
    idempotency_key: str
    is_replay: bool


def members_of(submission: Submission) -> dict[str, Any]:
    """Return the members of a request to submit. Raise `TypeError` for tags, events or a kind that are none."""
    options = {
        "batch": submission.batch,
        "tags": list(submission.tags) or None,
        "delay_s": submission.delay_s,
        "max_attempts": submission.max_attempts,
        "timeout_s": submission.timeout_s,
        "expires_in_s": submission.expires_in_s,
        "callback": _callback(submission.callback),
    }
    if isinstance(submission.tags, str):
        raise TypeError(f"tags is a sequence of strings, not the string {submission.tags!r}")
    body = {"kind": json_text.kind_of(submission.kind)} | {
        n: value for n, value in options.items() if value is not None
    }
    if submission.payload is not None:
        body["payload"] = submission.payload
    return body


def _callback(wanted: Callback | str | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    return (Callback(url=wanted) if isinstance(wanted, str) else wanted).members()


def submit_request(submission: Submission, new_key: Callable[[], str]) -> Request:
    """Return the request of a submission; without a key, mint one. Raise `TypeError` or `ValueError` for a payload."""
    key = new_key() if submission.idempotency_key is None else submission.idempotency_key
    return Request(
        "POST", LOOKED_AT, body=json_text.encode(members_of(submission)), idempotency_key=key, of_intake=True
    )


def submit(session: Session, request: Request) -> Flow[Submitted]:
    """Submit a job, once however often the request is sent."""
    response = yield from exchange(session, request)
    try:
        accepted = json_text.decode(response.body, Accepted, response.status)
    except AckedError as error:
        error.idempotency_key = request.idempotency_key
        raise
    return Submitted(accepted, str(request.idempotency_key), _is_replay(response))


def _is_replay(response: Response) -> bool:
    return response.headers.get("idempotency-replayed") == "true"


def path_of(job_id: str, *more: str) -> str:
    """Return the path of a job; ids and names are quoted."""
    return "/".join(("/jobs", *(quote(part, safe="") for part in (job_id, *more))))


def status(session: Session, job_id: str, wait_s: float = 0.0) -> Flow[JobStatus]:
    """Return the status; with `wait_s`, as soon as the job has ended."""
    query = {"wait_s": f"{wait_s:.3f}"} if wait_s else {}
    request = Request("GET", f"/status/{quote(job_id, safe='')}", query)
    return (yield from fetch(session, request, JobStatus, wait_s=wait_s))


def ended(session: Session, job_id: str, timeout_s: float | None) -> Flow[JobStatus]:
    """Return the status once the job has ended. Raise `StillRunning` after `timeout_s`; None waits for as long as it
    takes."""
    watch = Stopwatch()
    while True:
        left_s = None if timeout_s is None else max(timeout_s - watch.elapsed_s, 0.0)
        bounded = session if left_s is None else session.with_budget(left_s)
        wait_s = POLL_S if left_s is None else min(POLL_S, left_s)
        before_s = watch.elapsed_s
        found = yield from watch.time(status(bounded, job_id, wait_s))
        if found.has_ended:
            return found
        if timeout_s is not None and watch.elapsed_s >= timeout_s - 0.001:
            raise StillRunning(f"job {job_id}", found.state, found.hint)
        if watch.elapsed_s - before_s < wait_s / 2:
            yield from watch.time(_hesitate(session))


def _hesitate(session: Session) -> Flow[None]:
    yield Pause(_HURRY_S * (0.5 + session.random.random() / 2))


def result(session: Session, job_id: str, timeout_s: float | None) -> Flow[Any]:
    """Return the plain result of a job. Raise `JobFailed`, `JobCancelled` or `StillRunning`."""
    found = yield from ended(session, job_id, timeout_s)
    if found.state == State.SUCCEEDED:
        return found.result
    raise JobCancelled(found) if found.state == State.CANCELLED else JobFailed(found)


def command(session: Session, job_id: str, verb: str, body: Any = None) -> Flow[JobStatus]:
    """Apply a command to a job and return its status.

    The services keep no keys of commands. So the client notes the revision before a command that could have its effect
    twice, and looks for its transition before it repeats the request.
    """
    text = None if body is None else json_text.encode(body)
    request = Request("POST", path_of(job_id, verb), body=text)
    if verb not in _EFFECTS:
        return (yield from fetch(session, request, JobStatus))
    before = yield from status(session, job_id)

    def check() -> Flow[Response | None]:
        response = yield from exchange(session, Request("GET", f"/status/{quote(job_id, safe='')}"))
        found = json_text.decode(response.body, JobStatus, response.status)
        newer = {line.reason for line in found.history if line.rev > before.rev}
        return response if newer & _EFFECTS[verb] else None

    response = yield from exchange(session, request, check=check)
    return json_text.decode(response.body, JobStatus, response.status)


def resolve(session: Session, job_id: str, resolution: Resolution) -> Flow[JobStatus]:
    """Give a failed job its outcome."""
    return (yield from command(session, job_id, "resolve", resolution.members()))


def edit(session: Session, job_id: str, payload: Any) -> Flow[Accepted]:
    """Replace a failed or cancelled job by a new one; the same edit of one run is one job."""
    request = Request("POST", path_of(job_id, "edit"), body=json_text.encode({"payload": payload}))
    return (yield from fetch(session, request, Accepted))


def signal(session: Session, job_id: str, name: str, payload: Any, signal_id: str | None) -> Flow[SentSignal]:
    """Send a signal, once however often the request is sent."""
    key = session.new_key() if signal_id is None else signal_id
    body = json_text.encode(payload)
    request = Request("POST", path_of(job_id, "signals", name), body=body, idempotency_key=key)
    try:
        return (yield from fetch(session, request, SentSignal))
    except AckedError as error:
        error.idempotency_key = key
        raise
