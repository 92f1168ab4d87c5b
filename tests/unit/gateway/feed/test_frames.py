"""The frames of the feed."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from acked_common.http.problems import problem
from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.strict_json import NeedsScan
from acked_common.model.topics import Topic
from acked_gateway.feed import frames
from acked_gateway.feed.frames import (
    SNAPSHOT_PROGRESS_BYTES,
    Authenticate,
    FeedError,
    Subscribe,
    Unsubscribe,
    jobs_snapshot_text,
    parse_authenticate,
    parse_frame,
)
from support.factories import origin, topic

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
ID = UUID("01a20e02-d6e3-728c-b03b-9148ff00fd39")


def subscribe(scope: object, sub: object = "s") -> str:
    return json.dumps({"type": "subscribe", "sub": sub, "scope": scope})


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"all": True}, topic(tenant="acme")),
        ({"batch": "b.1"}, topic("batch", "b.1", tenant="acme")),
        ({"kind": "demo"}, topic("kind", "demo", tenant="acme")),
        ({"ids": [str(ID), str(ID).upper()]}, topic("ids", frozenset({ID}), tenant="acme")),
    ],
)
def test_scopes_are_of_the_client_s_tenant(scope: object, expected: Topic) -> None:
    assert parse_frame(subscribe(scope, 7), tenant="acme") == Subscribe(7, expected)


def test_unsubscribe_names_the_subscription() -> None:
    assert parse_frame('{"type":"unsubscribe","sub":"s"}', tenant="acme") == Unsubscribe("s")


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (
            {"type": "subscribe", "sub": "s", "scop": {"all": True}},
            "'scop' means nothing in subscribe; did you mean 'scope'",
        ),
        ({"type": "subscribe", "sub": "s", "scope": {"all": True}, "since": 1}, "Known: type, sub, scope"),
        ({"type": "unsubscribe", "sub": "s", "scope": {"all": True}}, "'scope' means nothing in unsubscribe"),
        ({"type": "authenticate", "token": "t", "tenant": "acme"}, "'tenant' means nothing in authenticate"),
    ],
)
def test_unknown_member_is_refused_with_the_known_ones(frame: dict[str, object], says: str) -> None:
    with pytest.raises(FeedError, match=says) as refused:
        parse_frame(json.dumps(frame), tenant="acme")
    assert refused.value.problem.name == "bad-message"
    assert refused.value.sub == frame.get("sub")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"subscribe","sub":"s","scope":{"batch":"b"},"scope":{"all":true}}',
        '{"type":"subscribe","sub":"s","sub":"t","scope":{"all":true}}',
        '{"type":"unsubscribe","type":"subscribe","sub":"s","scope":{"all":true}}',
        '{"type":"subscribe","sub":"s","scope":{"kind":"a","kind":"b"}}',
        '{"type":"unsubscribe","sub":"s","s\\u0075b":"t"}',
    ],
)
def test_member_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(FeedError, match="occurs twice") as refused:
        parse_frame(text, tenant="acme")
    assert refused.value.problem.name == "bad-message"


def test_doubtful_frame_asks_for_the_slow_scan() -> None:
    with pytest.raises(NeedsScan):
        parse_frame('{"type":"unsubscribe","sub":"s","sub":"t"}', tenant="acme", may_scan=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "1", "null", '{"type":1}', '{"type":"publish","sub":"s"}', "[" * 60_000, "\ud800"),
        *(subscribe({"all": True}, sub) for sub in (None, True, 1.5, "", "x" * 65, 2**60, [], {})),
        *(subscribe(scope) for scope in (None, {}, [], "all", {"all": False}, {"all": 1}, {"all": True, "kind": "k"})),
        *(subscribe({name: value}) for name in ("batch", "kind") for value in ("", "x" * 65, 1, None)),
        *(subscribe({"ids": ids}) for ids in ([], "x", [1], ["x"], [str(ID), None], [str(ID)] * 1001)),
        subscribe({"state": "x"}),
        subscribe({"kind": "k"}) + " " * frames.MAX_FRAME_CHARS,
    ],
)
def test_what_means_nothing_is_refused_with_a_problem(text: str) -> None:
    with pytest.raises(FeedError) as refused:
        parse_frame(text, tenant="acme")
    assert refused.value.problem.name == "bad-message"
    assert refused.value.problem.detail


def test_a_tenant_can_not_be_asked_for() -> None:
    for scope in ({"all": True, "tenant": "globex"}, {"tenant": "globex"}):
        with pytest.raises(FeedError):
            parse_frame(subscribe(scope), tenant="acme")
    with pytest.raises(FeedError):
        parse_frame('{"type":"subscribe","sub":1,"tenant":"globex","scope":{"all":true}}', tenant="acme")


def test_the_first_frame_shows_a_token() -> None:
    assert parse_authenticate('{"type":"authenticate","token":"t"}') == b"t"
    assert parse_frame('{"type":"authenticate","token":"t"}', tenant="acme") == Authenticate()


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{", "[]", "null", '"t"', '{"type":"authenticate"}', '{"type":"authenticate","token":1}'),
        *(
            subscribe({"all": True}),
            '{"type":"hello","token":"t"}',
            '{"type":"authenticate","token":"t","x":1}',
            '{"type":"authenticate","token":"t","token":"u"}',
            "[" * 1000,
            "\ud800",
        ),
        json.dumps({"type": "authenticate", "token": "t" * frames.MAX_FIRST_FRAME_CHARS}),
    ],
)
def test_anything_else_first_shows_none(text: str | None) -> None:
    with pytest.raises(FeedError) as refused:
        parse_authenticate(text)
    assert refused.value.problem.name == "no-token"


def test_the_largest_subscription_fits_into_a_frame() -> None:
    ids = [str(new_id()) for _ in range(frames.MAX_IDS)]
    asked = parse_frame(subscribe({"ids": ids}), tenant="acme")
    assert isinstance(asked, Subscribe)
    assert {str(job_id) for job_id in asked.topic.ids} == set(ids)


def test_events_are_written_as_the_contract_has_them() -> None:
    event = JobEvent(ID, 3, State.FAILED, 'a "new" reason', 2, AT)
    texts = ",".join([frames.event_text(event), frames.event_text(event, b'{"done":1}')])
    frame = json.loads(frames.events_frame('s"', 4, texts))
    told = {
        "id": str(ID),
        "rev": 3,
        "state": State.FAILED.value,
        "reason": 'a "new" reason',
        "attempt": 2,
        "at": "2026-01-02T03:04:05.678Z",
    }
    assert frame == {"type": "events", "sub": 's"', "seq": 4, "events": [told, {**told, "progress": {"done": 1}}]}


def test_a_park_says_what_the_job_waits_for() -> None:
    event = JobEvent(ID, 3, State.WAITING, Reason.PARKED.value, 1, AT)
    told = {"call": "first", "name": "paid-or-late", "until_at": "2026-01-02T03:04:05.678Z", "signals": ["paid"]}
    waits = Waits("first", "paid-or-late", AT, ("paid",))
    assert json.loads(frames.event_text(event, waits=waits))["waits"] == told
    (job,) = json.loads("{" + jobs_snapshot_text([JobUpdate(ID, origin("k"), event, waits=waits)]) + "}")["jobs"]
    assert job["waits"] == told
    many = Waits("first", "any", None, tuple(f"{n:064}" for n in range(50)))
    text = jobs_snapshot_text([JobUpdate(ID, origin("k"), event, waits=many)] * 1000)
    assert len(text) < SNAPSHOT_PROGRESS_BYTES + 1000 * 300
    assert "waits" not in frames.event_text(event)


def test_snapshots_hold_jobs_or_counts() -> None:
    event = JobEvent(ID, 1, State.QUEUED, Reason.ACCEPTED.value, 0, AT)
    jobs = frames.jobs_snapshot_text([JobUpdate(ID, origin("k"), event), JobUpdate(ID, origin("k", "b"), event, b"{}")])
    frame = json.loads(frames.snapshot_frame(1, jobs))
    assert (frame["type"], frame["sub"]) == ("snapshot", 1)
    assert [(job["kind"], job["batch"], job.get("progress")) for job in frame["jobs"]] == [
        ("k", None, None),
        ("k", "b", {}),
    ]
    counts = {State.SUCCEEDED: 2, State.QUEUED: 1}
    assert json.loads(frames.snapshot_frame(1, frames.counts_snapshot_text(counts, None))) == {
        "type": "snapshot",
        "sub": 1,
        "counts": {State.QUEUED.value: 1, State.SUCCEEDED.value: 2},
    }
    assert json.loads("{" + frames.counts_snapshot_text({}, 9) + "}") == {"counts": {}, "counted_at_most": 9}


def test_the_other_frames() -> None:
    assert json.loads(frames.hello_frame("b")) == {"type": "hello", "protocol": 1, "boot": "b"}
    assert json.loads(frames.ping_frame("t")) == {"type": "ping", "at": "t"}
    assert json.loads(frames.resync_frame("s")) == {"type": "resync", "sub": "s"}
    found = problem("bad-message", "no")
    assert json.loads(frames.error_frame(found, None)) == {"type": "error", "problem": found.members()}
    assert json.loads(frames.error_frame(found, 0))["sub"] == 0


def test_a_snapshot_holds_a_bounded_amount_of_progress() -> None:
    progress = b'{"value":"' + b"x" * 60_000 + b'"}'
    event = JobEvent(new_id(), 2, State.RUNNING, Reason.CLAIMED.value, 1, datetime(2026, 1, 2, tzinfo=UTC))
    text = jobs_snapshot_text([JobUpdate(event.id, origin("k"), event, progress) for _ in range(100)])
    assert len(text) < SNAPSHOT_PROGRESS_BYTES + 100 * 300
    jobs = json.loads("{" + text + "}")["jobs"]
    assert len(jobs) == 100
    assert sum("progress" in job for job in jobs) == SNAPSHOT_PROGRESS_BYTES // len(progress)
