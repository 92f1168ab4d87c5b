"""Run flows of the client's core without I/O: what is sent is answered by a script, and no time passes."""

import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeVar

from acked_client.core.effects import Done, Flow, Lost, Pause, Request, Response, Send
from acked_client.core.exchange import Session
from acked_client.model.requests import RetryPolicy

T = TypeVar("T")
Answer = Response | Lost
LOST = Lost("the connection broke", may_have_arrived=True)
NEVER_SENT = Lost("connection refused", may_have_arrived=False)


def session(policy: RetryPolicy | None = None, *, intake: str | None = "http://intake", seed: int = 1) -> Session:
    """Return a session whose keys count from 1."""
    keys = iter(range(1, 1_000_000))
    return Session("http://gateway", intake, policy or RetryPolicy(), Random(seed), lambda: f"key-{next(keys)}")


def ok(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a success."""
    return Response(status, headers, json.dumps(body).encode())


def refused(name: str, status: int, **members: Any) -> Response:
    """Return a problem; `retry_after` becomes the header."""
    headers = {"content-type": "application/problem+json"}
    if "retry_after" in members:
        headers["retry-after"] = str(members.pop("retry_after"))
    document = {"type": f"/problems/{name}", "title": name, "status": status, "detail": "because"} | members
    return Response(status, headers, json.dumps(document).encode())


class Script:
    """Answers requests in turn, or by a function. `sent` and `pauses` have what the flow asked for."""

    def __init__(self, answers: Iterable[Answer] | Callable[[Request], Answer], took_s: float = 0.0) -> None:
        self._answer = answers if callable(answers) else self._in_turn(iter(answers))
        self._took_s = took_s
        self.sent: list[Send] = []
        self.pauses: list[float] = []

    @staticmethod
    def _in_turn(answers: Any) -> Callable[[Request], Answer]:
        return lambda _: next(answers)

    @property
    def requests(self) -> list[Request]:
        """The requests without their addresses."""
        return [effect.request for effect in self.sent]

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end. Each response took the script's time, each pause its own."""
        try:
            effect = next(flow)
            while True:
                effect = flow.send(self._perform(effect))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _perform(self, effect: Send | Pause) -> Done:
        if isinstance(effect, Pause):
            self.pauses.append(effect.seconds)
            return Done(None, effect.seconds)
        self.sent.append(effect)
        return Done(self._answer(effect.request), self._took_s)


STATUS: dict[str, Any] = {
    "id": "0198a000-0000-7000-8000-000000000001",
    "kind": "hello",
    "state": "queued",
    "reason": "accepted",
    "rev": 1,
    "run": 1,
    "attempt": 0,
    "failures": 0,
    "accepted_at": "2026-11-24T10:06:45.759Z",
    "due_at": None,
    "started_at": None,
    "finished_at": None,
    "progress": None,
    "result": None,
    "error": None,
    "batch": None,
    "tags": [],
    "attempts": [],
    "history": [
        {"rev": 1, "state": "queued", "reason": "accepted", "attempt": 0, "at": "2026-11-24T10:06:45.759Z"},
    ],
}


def status(**changes: Any) -> dict[str, Any]:
    """Return the status of a job."""
    return STATUS | changes


ACCEPTED: dict[str, Any] = {
    "id": STATUS["id"],
    "state": "queued",
    "kind": "hello",
    "accepted_at": STATUS["accepted_at"],
    "links": {"status": "/status/x", "feed": "ws://localhost:8080/ws/feed"},
}


def firing(**changes: Any) -> dict[str, Any]:
    """Return a firing of a schedule."""
    found = {
        "at": "2026-11-24T10:00:00.000Z",
        "last_at": None,
        "count": 1,
        "trigger": "schedule",
        "outcome": "started",
        "why": None,
        "detail": None,
        "job": STATUS["id"],
        "job_state": None,
        "revision": 1,
        "decided_at": STATUS["accepted_at"],
    }
    return found | changes


def schedule(**changes: Any) -> dict[str, Any]:
    """Return a schedule with its payload."""
    found = {
        "name": "nightly",
        "revision": 1,
        "cron": "30 2 * * *",
        "every_s": None,
        "timezone": "Europe/Berlin",
        "from": None,
        "until": None,
        "kind": "noop",
        "tags": [],
        "batch": None,
        "overlap": "skip",
        "catch_up_s": 3600,
        "jitter_s": 0,
        "paused": None,
        "next_at": "2026-11-25T01:30:00.000Z",
        "last_firing": None,
        "backfill": None,
        "made_at": STATUS["accepted_at"],
        "changed_at": STATUS["accepted_at"],
        "payload": {},
    }
    return found | changes


def callback_endpoint(**changes: Any) -> dict[str, Any]:
    """Return a callback endpoint that Acked has disabled."""
    found = {
        "name": "billing",
        "url": "https://hooks.example/x",
        "events": ["job.failed"],
        "kinds": [],
        "header_names": ["authorization"],
        "enabled": False,
        "state": "disabled",
        "disabled": {"at": STATUS["accepted_at"], "by": "acked", "reason": "it accepts no more events"},
        "failing_since": STATUS["accepted_at"],
        "last_error": "the receiver returned 410",
        "revision": 2,
        "made_at": STATUS["accepted_at"],
        "changed_at": STATUS["accepted_at"],
    }
    return found | changes


def backfill(**changes: Any) -> dict[str, Any]:
    """Return a backfill of a schedule that is under way."""
    found = {
        "from": "2026-11-01T00:00:00.000Z",
        "until": "2026-11-08T00:00:00.000Z",
        "limit": 1000,
        "asked_at": STATUS["accepted_at"],
        "next_at": "2026-11-01T01:30:00.000Z",
        "started": 0,
        "present": 0,
        "refused": 0,
        "ended_at": None,
    }
    return found | changes


def delivery(**changes: Any) -> dict[str, Any]:
    """Return a delivery of a callback whose attempts were used up."""
    attempt = {
        "run": 1,
        "attempt": 1,
        "outcome": "failed",
        "started_at": STATUS["accepted_at"],
        "ended_at": STATUS["accepted_at"],
        "webhook_timestamp": 1_795_514_805,
        "duration_s": 0.25,
        "response": {"status": 500, "headers": {}, "body": "no", "is_cut": False},
        "error": "status 500",
    }
    found = {
        "id": "0198a000-0000-7000-8000-0000000000d1",
        "job": STATUS["id"],
        "state": "failed",
        "event": "job.succeeded",
        "run": 1,
        "resend": 0,
        "webhook_id": f"{STATUS['id']}_1_succeeded",
        "endpoint": None,
        "url": "https://hooks.example/x",
        "body": {"type": "job.succeeded"},
        "accepted_at": STATUS["accepted_at"],
        "finished_at": STATUS["accepted_at"],
        "next_attempt_at": None,
        "attempts": [attempt],
    }
    return found | changes
