"""Hooks for schemathesis, which runs as a separate process: they aim its requests at existing jobs.

`ACKED_TEST_TRAFFIC` names a file with `{"ids", "live_ids", "live_id", "failed_ids", "bulk_ids", "batch", "groups",
"secret", "delivery", "seen"}`: ids of jobs in many states, of delayed ones, of one that nothing moves, of failed ones,
of bulk actions, the name of a batch, groups of errors, the id of a secret, a job with a delivery that has ended, and
the file to which each `METHOD path status` is appended.
"""

import itertools
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response

from acked_common.api.routes import LINES

# Documented maxima, a load test of 100,000 and a poll of a minute, would only take time here.
MOST_CALLS = 5
LONGEST_WAIT_S = 0.05
KIND = "noop"
DRAIN = "/workers/{id}/drain"
BULK_ACTION = "/bulk-actions/{id}"
SCHEDULE = "/schedules/{name}"
ENDPOINT = "/callback-endpoints/{name}"

_there = json.loads(Path(os.environ["ACKED_TEST_TRAFFIC"]).read_text())
_workers = ["worker-1"]
_turns: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
"""Per-operation counters: some operations get few requests, and these must cover each kind of response."""
_live = list(_there["live_ids"])
# Of three failed jobs one is for retries, one for edits and erasures, the last is for other commands.
_failed = _there["failed_ids"][::3]
_edited = _there["failed_ids"][1::3]
_seen = Path(_there["seen"])


@schemathesis.serializer(LINES)
def one_line(context: Any, value: Any) -> dict[str, Any]:
    """Send a generated line as the only one of its request."""
    return {"data": json.dumps(value).encode() + b"\n"}


@schemathesis.deserializer(LINES)
def only_line(context: Any, response: Response) -> Any:
    """Read the outcome of `one_line`."""
    (line,) = response.content.splitlines()
    return json.loads(line)


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Aim most requests at existing jobs, batches and kinds, chosen by the generated values."""
    path, query = case.path_parameters, case.query
    turn = next(_turns[f"{case.method} {case.path}"])
    draw = zlib.crc32(repr((path, query, case.body)).encode())
    if case.path == DRAIN:
        # Once: a drained worker is away for seconds.
        path["id"] = _workers.pop() if _workers else f"nobody-{draw}"
    elif case.path.endswith("/retry") and _failed and turn % 2 == 0:
        # A job that was neither retried nor resolved yet.
        path["id"] = _failed.pop()
    elif case.path.endswith(("/cancel", "/run-now")) and _live and turn % 2 == 0:
        # A job that was neither cancelled nor queued yet.
        path["id"] = _live.pop()
    elif case.path.endswith(("/edit", "/erase")) and _edited and turn % 2 == 0:
        # A job that was neither edited nor erased yet.
        path["id"] = _edited.pop()
    elif case.path.endswith("/signals/{name}") and turn % 2 == 0:
        # A job that lives; each second one is the same signal again.
        path["id"] = _there["live_id"]
        if turn % 4 == 0:
            path["name"], case.body = "paid", 100
            case.headers = {**(case.headers or {}), "Idempotency-Key": "one-signal"}
    elif case.path.endswith("/erase") and turn % 8 == 3:
        path["id"] = _there["live_id"]
    elif case.path == "/bulk-actions" and isinstance(case.body, dict):
        case.body = _bulk_request(case.body, turn)
    elif case.path.startswith(BULK_ACTION) and turn % 4:
        path["id"] = _there["bulk_ids"][draw % len(_there["bulk_ids"])]
    elif "id" in path and turn % 8 == 1:
        path["id"] = f"0190a5d2-0000-7000-8000-{draw:012x}"
    elif "id" in path and turn % 4:
        is_for_failed = case.path.endswith("/resolve") and draw % 3
        ids = _there["failed_ids"][2::3] if is_for_failed else _there["ids"]
        path["id"] = ids[draw % len(ids)]
    if case.path.startswith(SCHEDULE):
        _aim_at_schedule(case, turn)
    if case.path.startswith(ENDPOINT):
        _aim_at_endpoint(case, turn)
    if "secret" in path and turn % 2 == 0:
        path["secret"] = _there["secret"]
    if "delivery" in path and turn % 2 == 0:
        path["id"], path["delivery"] = _there["delivery"]
    if case.path == "/process" and isinstance(case.body, dict):
        callback = case.body.get("callback")
        if isinstance(callback, dict) and str(callback.get("url")).startswith(("http://", "https://")):
            # The document can't say which hosts may be called.
            callback["url"] = "https://example.com/hook"
    if "kind" in path:
        # No job of this kind is waited for.
        path["kind"] = ("demo", f"nobody-{draw}")[turn % 2]
    if "batch" in path:
        path["batch"] = (_there["batch"], f"nobody-{draw}", path["batch"])[turn % 3]
    if "group" in path and turn % 3:
        path["group"] = _there["groups"][draw % len(_there["groups"])]
    if case.path == "/load-test":
        count = query.setdefault("count", MOST_CALLS)
        if _number(count) > MOST_CALLS:
            query["count"] = MOST_CALLS
        if draw % 2:
            query["kind"] = KIND
    if _number(query.get("wait_s")) > LONGEST_WAIT_S:
        query["wait_s"] = LONGEST_WAIT_S
    if case.path == "/process" and case.media_type == LINES:
        # Each line has a key of its own.
        case.headers.pop("Idempotency-Key", None)
    elif case.path == "/process" and draw % 3 == 0:
        # A few keys for many requests: some requests are replays, others reuse a foreign key.
        case.headers["Idempotency-Key"] = f"key-{draw % 4}"
    if isinstance(case.body, dict) and isinstance(case.body.get("kind"), str) and draw % 2:
        case.body["kind"] = KIND


def _aim_at_schedule(case: Case, turn: int) -> None:
    """Define new and known schedules in turn, delete some of the new ones, and leave one to all other operations."""
    kept, made = "kept", f"made-{turn // 4}"
    case.path_parameters["name"] = kept if turn % 2 else f"nobody-{turn}"
    if case.method == "DELETE":
        case.path_parameters["name"] = made
    elif case.method == "POST" and case.path.endswith("/next") and turn % 2:
        case.body = {"kind": KIND, "every_s": 1 + turn}
    elif case.method == "PUT":
        case.path_parameters["name"] = (made, kept)[turn % 2]
        if turn % 4 < 2:
            case.body = {"kind": KIND, "cron": "0 0 1 1 *", "jitter_s": turn % 60}
    elif case.path.endswith("/backfill") and turn % 4 == 1:
        case.body = {"from": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}


def _aim_at_endpoint(case: Case, turn: int) -> None:
    """Aim at endpoints as `_aim_at_schedule` does. They concern no job, since their hosts do not exist."""
    kept, made = "kept", f"made-{turn // 4}"
    case.path_parameters["name"] = kept if turn % 4 == 1 else f"nobody-{turn}"
    if case.method == "DELETE":
        case.path_parameters["name"] = made
    elif case.method == "PUT":
        case.path_parameters["name"] = (made, kept)[turn % 2]
        if turn % 4 < 2:
            case.body = {"url": "https://example.com/hook", "kinds": ["nobody"], "enabled": False}
        elif isinstance(case.body, dict):
            case.body["kinds"] = ["nobody"]


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Record the response."""
    with _seen.open("a") as lines:
        lines.write(f"{case.method} {case.path} {response.status_code}\n")


def _bulk_request(body: dict[str, Any], turn: int) -> dict[str, Any]:
    """A bulk action that takes no job from other requests: one without jobs, or a dry run."""
    if turn % 4 == 0:
        return {"action": "cancel", "ids": [f"0190a5d2-0000-7000-8000-{turn:012x}"]}
    if turn % 4 == 1:
        return {"action": "retry", "filter": {"batch": _there["batch"]}, "dry_run": True}
    return {**body, "dry_run": True}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
