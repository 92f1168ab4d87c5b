"""Every transition once and in order, whatever is lost between a model of the gateway and the client."""

import json
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked_client import AccessDenied, JobEvent, NoResponse, RetryPolicy, problems
from acked_client.core.effects import (
    Closed,
    Connect,
    Done,
    FeedEffect,
    HangUp,
    Hear,
    Lost,
    Pause,
    Request,
    Response,
    Say,
    Send,
    Show,
)
from acked_client.core.frames import MOST_IDS, Scope
from acked_client.core.ledger import ShownRevisions
from acked_client.core.watch import Watch
from support.client_flows import STATUS, ok, refused, session

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
CYCLE = ("queued", "running", "succeeded")
SHOWN_AS_JOBS = 3
"""Larger scopes are shown by counts, as those of more than 1,000 jobs are."""


@dataclass
class Gateway:
    """A gateway with one scope and one client. Each step of the client may find the world moved on."""

    moves: deque[str]
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    frames: deque[dict[str, Any] | None] = field(default_factory=deque)
    """What the client has not received; None ends the connection."""
    is_connected: bool = False
    is_subscribed: bool = False
    now: datetime = BEGIN
    watch: Watch | None = None
    early: set[str] = field(default_factory=set)
    """Jobs that were there before the client had a snapshot: it shows them from then on."""

    def add(self) -> None:
        self.now += timedelta(milliseconds=1)
        millis = int(self.now.timestamp() * 1000)
        digits = f"{millis:012x}7000800000000000{len(self.jobs):04x}"
        job_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.jobs[job_id] = []
        self.move(job_id)

    def move(self, job_id: str) -> None:
        self.now += timedelta(milliseconds=1)
        history = self.jobs[job_id]
        line = {
            "rev": len(history) + 1,
            "state": CYCLE[len(history) % 3],
            "reason": "moved",
            "attempt": 1,
            "at": self.now.isoformat(),
        }
        history.append(line)
        if self.is_subscribed:
            self.frames.append({"type": "events", "sub": 0, "seq": 1, "events": [{"id": job_id, **line}]})

    def step(self) -> None:
        """Make the next move of the plan."""
        match self.moves.popleft() if self.moves else "rest":
            case "add":
                self.add()
            case "cut":
                self.cut()
            case "resync" if self.is_subscribed:
                self.frames.clear()
                self.frames.append({"type": "resync", "sub": 0})
                self.frames.append(self.snapshot())
            case "resync" | "rest":
                pass
            case number if self.jobs:
                self.move(list(self.jobs)[int(number) % len(self.jobs)])
        if self.watch is None or not self.watch.was_connected:
            self.early = set(self.jobs)

    def cut(self) -> None:
        if self.is_connected:
            self.frames.clear()
            self.frames.append(None)
            self.is_connected = self.is_subscribed = False

    def snapshot(self) -> dict[str, Any]:
        if len(self.jobs) > SHOWN_AS_JOBS:
            return {"type": "snapshot", "sub": 0, "counts": {"queued": len(self.jobs)}, "new": True}
        jobs = [{"id": job_id, "kind": "k", "batch": "b", **history[-1]} for job_id, history in self.jobs.items()]
        return {"type": "snapshot", "sub": 0, "jobs": jobs}

    def serve(self, request: Request) -> Response:
        if request.path == "/jobs":
            query = dict(request.query)
            assert query.pop("batch", "b") == "b"
            found = [
                job_id
                for job_id in reversed(self.jobs)
                if "since" not in query or self.accepted(job_id) >= query["since"]
            ]
            found = [
                job_id
                for job_id in found
                if self.jobs[job_id][-1]["state"] == query.get("state", self.jobs[job_id][-1]["state"])
            ]
            start = int(query.get("page_token", 0))
            token = str(start + 2) if start + 2 < len(found) else ""
            return ok({"jobs": [self.summary(job_id) for job_id in found[start : start + 2]], "next_page_token": token})
        job_id = request.path.removeprefix("/status/")
        return ok(self.summary(job_id)) if job_id in self.jobs else refused("not-found", 404)

    def accepted(self, job_id: str) -> str:
        return str(self.jobs[job_id][0]["at"])

    def summary(self, job_id: str) -> dict[str, Any]:
        history = self.jobs[job_id]
        newest = {name: history[-1][name] for name in ("rev", "state", "reason")}
        return STATUS | {"id": job_id, "history": list(history), "batch": "b"} | newest

    def perform(self, effect: FeedEffect) -> Done:
        match effect:
            case Connect():
                self.is_connected, self.is_subscribed = True, False
                self.frames.clear()
                self.frames.append({"type": "hello", "protocol": 1, "boot": "x"})
                self.step()
            case Say(text):
                if not self.is_connected:
                    return Done(Closed(1006), 0.0)
                assert json.loads(text)["sub"] == 0
                self.is_subscribed = True
                self.frames.append(self.snapshot())
            case Hear():
                self.step()
                frame = self.frames.popleft() if self.frames else {"type": "ping", "at": "now"}
                return Done(Closed(1006) if frame is None else json.dumps(frame), 0.0)
            case HangUp():
                self.cut()
            case Send():
                self.step()
                return Done(self.serve(effect.request), 0.0)
            case Pause(seconds):
                self.step()
                return Done(None, seconds)
        return Done(None, 0.0)


def follow(gateway: Gateway, scope: Scope, until: Callable[[], bool], watch: Watch | None = None) -> list[JobEvent]:
    """Run a watch until the condition holds; the flow must not need more than 5,000 steps."""
    shown: list[JobEvent] = []
    gateway.watch = watch or Watch(session(), scope, with_progress=False)
    flow = gateway.watch.run()
    effect = next(flow)
    for _ in range(5_000):
        if isinstance(effect, Show):
            shown.extend(effect.events)
            done = Done(None, 0.0)
        else:
            if isinstance(effect, Hear) and not gateway.frames and until():
                flow.close()
                return shown
            done = gateway.perform(effect)
        effect = flow.send(done)
    raise AssertionError("the watch does not come to rest")


plans = st.lists(st.sampled_from(["add", "add", "cut", "resync", *(str(number) for number in range(12))]), max_size=80)


@settings(max_examples=300, deadline=None)
@given(plans, st.integers(0, 6))
def test_every_transition_of_a_batch_is_shown_once_in_order(plan: list[str], before: int) -> None:
    gateway = Gateway(deque(plan))
    for _ in range(before):
        gateway.add()
    shown = follow(gateway, Scope(batch="b"), lambda: not gateway.moves)
    revs: dict[str, list[int]] = defaultdict(list)
    for event in shown:
        revs[event.id].append(event.rev)
    for job_id, history in gateway.jobs.items():
        found = revs.pop(job_id, [])
        first = found[0] if job_id in gateway.early and found else 1
        assert found and found == list(range(first, len(history) + 1)), (job_id, found, len(history))
    assert not revs


@settings(max_examples=200, deadline=None)
@given(plans)
def test_no_revision_of_a_kind_is_repeated_and_what_was_live_ends(plan: list[str]) -> None:
    gateway = Gateway(deque(plan))
    shown = follow(gateway, Scope(), lambda: not gateway.moves)
    newest: dict[str, JobEvent] = {}
    for event in shown:
        assert event.id not in newest or event.rev > newest[event.id].rev
        newest[event.id] = event
    for job_id, history in gateway.jobs.items():
        # The one case that the module names: ended, retried and ended again while nobody looked.
        assert job_id in newest
        if newest[job_id].state != "succeeded":
            assert newest[job_id].rev == len(history)


def test_lists_are_read_only_where_a_snapshot_has_counts() -> None:
    gateway = Gateway(deque(["rest", "rest", "rest", "add", "cut", "0", "0"]))
    sent: list[Request] = []
    serve = gateway.serve
    gateway.serve = lambda request: sent.append(request) or serve(request)  # type: ignore[method-assign, func-returns-value]
    shown = follow(gateway, Scope(batch="b"), lambda: not gateway.moves)
    assert [event.rev for event in shown] == [1, 2, 3]
    assert {request.path.split("/")[1] for request in sent} == {"status"}


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Closed(4401, "revoked"), problems.UnknownToken),
        (Closed(4403), problems.MissingPermission),
        (Closed(1008), problems.BadMessage),
        (refused("unknown-token", 401), AccessDenied),
        (refused("not-found", 404), problems.NotFound),
    ],
)
def test_what_no_new_connection_mends_is_raised(ending: Closed | Response, kind: type[Exception]) -> None:
    flow = Watch(session(), Scope(), with_progress=False).run()
    effect = next(flow)
    with pytest.raises(kind):
        for _ in range(10):
            if isinstance(effect, Connect):
                effect = flow.send(Done(ending if isinstance(ending, Response) else None, 0.0))
            else:
                effect = flow.send(Done(ending if isinstance(effect, Hear) else None, 0.0))


def test_gateway_that_is_away_is_waited_for_with_growing_pauses() -> None:
    flow = Watch(session(RetryPolicy(budget_s=60, outage_s=600)), Scope(), with_progress=False).run()
    effect, waited = next(flow), 0.0
    with pytest.raises(NoResponse):
        while True:
            if isinstance(effect, Pause):
                assert effect.seconds <= 5
                waited += effect.seconds
                effect = flow.send(Done(None, effect.seconds))
            else:
                effect = flow.send(Done(Lost("refused", may_have_arrived=False), 0.0))
    assert 55 <= waited <= 60.001


def test_progress_is_shown_on_request_only() -> None:
    gateway = Gateway(deque())
    gateway.add()
    (job_id,) = gateway.jobs
    report = {"value": 0.5, "message": "half", "at": BEGIN.isoformat()}
    for wanted in (False, True):
        is_sent = False

        def until() -> bool:
            nonlocal is_sent
            if is_sent:
                return True
            is_sent = True
            event = {"id": job_id, **gateway.jobs[job_id][-1]}
            stale = {**event, "rev": 0, "progress": report}
            gateway.frames.append({"type": "events", "sub": 0, "events": [{**event, "progress": report}, stale]})
            return False

        shown = follow(gateway, Scope(), until, Watch(session(), Scope(), with_progress=wanted))
        assert [event.progress is not None for event in shown] == [False, True][: 1 + wanted]


def test_members_and_frames_of_a_newer_gateway_are_ignored() -> None:
    gateway = Gateway(deque())
    gateway.add()
    gateway.frames.append({"type": "brand-new", "sub": {"any": 1}})
    done = []

    def until() -> bool:
        if not done:
            done.append(1)
            gateway.frames.append({"type": "brand-new", "added": {"x": 1}})
            gateway.frames.append(
                {
                    "type": "events",
                    "sub": 0,
                    "events": [
                        {
                            "id": "x",
                            "rev": 1,
                            "state": "new-state",
                            "reason": "r",
                            "attempt": 0,
                            "at": BEGIN.isoformat(),
                            "added": 1,
                        }
                    ],
                }
            )
            return False
        return True

    assert [event.state for event in follow(gateway, Scope(), until)] == ["queued", "new-state"]


def test_scopes_are_checked() -> None:
    with pytest.raises(TypeError):
        Scope(batch="b", kind="k")
    for ids in ((), ("x",) * (MOST_IDS + 1)):
        with pytest.raises(ValueError, match="ids"):
            Scope(ids=ids)
    frames = [json.loads(text) for text in Scope(ids=("x",) * 2_001).subscriptions()]
    assert [(frame["sub"], len(frame["scope"]["ids"])) for frame in frames] == [(0, 1_000), (1, 1_000), (2, 1)]


def event(job_id: str, rev: int, state: str) -> JobEvent:
    return JobEvent(id=job_id, rev=rev, state=state, reason="r", attempt=1, at=BEGIN)


def test_remembered_jobs_are_bounded() -> None:
    shown = ShownRevisions(most_ended=3, most_live=2)
    for number in range(10):
        assert shown.take(event(f"ended-{number}", 3, "failed"))
    assert [shown.rev(f"ended-{number}") for number in range(10)] == [0] * 7 + [3] * 3
    assert shown.was_forgotten("ended-6") and not shown.was_forgotten("ended-7")
    assert not shown.take(event("ended-9", 3, "failed")) and shown.take(event("ended-9", 4, "queued"))
    for number in range(4):
        shown.take(event(f"live-{number}", 1, "queued"))
    assert shown.live == ["live-2", "live-3"]
