"""The hub: who is told what, in which order, and what becomes of those who are too slow."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.topics import GONE, Topic
from acked_gateway.feed import hub as hub_module
from acked_gateway.feed.frames import FeedError
from acked_gateway.feed.hub import Client, Hub, Subscription, counts_snapshot, jobs_snapshot
from support.factories import origin, topic

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
STATES = list(State)


def news(
    job_id: UUID, rev: int, *, batch: str | None = None, progress: bytes | None = None, tenant: str = DEFAULT_TENANT
) -> JobUpdate:
    event = JobEvent(job_id, rev, STATES[rev % len(STATES)], Reason.DUE.value, rev // 2, AT)
    return JobUpdate(job_id, origin(batch=batch, tenant=tenant), event, progress)


def frames(client: Client) -> list[dict[str, Any]]:
    """All that the client can be sent now."""
    found = []
    while (frame := client.next_frame()) is not None:
        found.append(json.loads(frame))
    return found


def revs(found: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["id"], event["rev"]) for frame in found for event in frame.get("events", ())]


def followed(hub: Hub, scope: Topic, sub: str = "s", jobs: Sequence[JobUpdate] = ()) -> Client:
    """A client with a live subscription."""
    client = Client(lambda: None)
    subscription = hub.subscribe(client, sub, scope)
    client.wanting.clear()
    assert subscription.give(jobs_snapshot(jobs))
    frames(client)
    return client


def test_another_tenants_events_reach_nobody_whatever_is_followed() -> None:
    hub = Hub()
    job_id = new_id()
    scopes = [topic(), topic("kind", "k"), topic("batch", "b"), topic("ids", frozenset({job_id}))]
    clients = {
        tenant: [followed(hub, msgspec.structs.replace(scope, tenant=tenant)) for scope in scopes]
        for tenant in ("acme", "globex")
    }
    for tenant in ("globex", "nobody"):
        hub.publish([news(job_id, 2, batch="b", tenant=tenant)])
    hub.publish([msgspec.structs.replace(news(job_id, 2), origin=GONE)])
    hub.publish([news(job_id, 3, batch="b", progress=b"{}", tenant="globex")])
    assert [frames(client) for client in clients["acme"]] == [[]] * 4
    for client in clients["globex"]:
        assert revs(frames(client)) == [(str(job_id), 2), (str(job_id), 3)]
    for client in clients["acme"]:
        hub.leave(client)
    hub.publish([news(job_id, 4, batch="b", tenant="globex")])
    for client in clients["globex"]:
        assert revs(frames(client)) == [(str(job_id), 4)], "what one tenant leaves another still follows"
        hub.leave(client)
    assert not hub.rings


def test_events_reach_those_who_follow_their_scope_and_nobody_else() -> None:
    hub = Hub()
    one, other = new_id(), new_id()
    both = topic("ids", frozenset({one, other}))
    clients = {
        scope: followed(hub, scope)
        for scope in (
            topic(),
            topic("kind", "k"),
            topic("kind", "other"),
            topic("batch", "b"),
            topic("batch", "other"),
            topic("ids", frozenset({one})),
            both,
            topic("ids", frozenset({other})),
        )
    }

    hub.publish([news(one, 1, batch="b")])

    told = {scope for scope, client in clients.items() if revs(frames(client)) == [(str(one), 1)]}
    assert told == {
        topic(),
        topic("kind", "k"),
        topic("batch", "b"),
        topic("ids", frozenset({one})),
        topic("ids", frozenset({one, other})),
    }


def test_nothing_is_sent_before_the_snapshot_and_all_that_came_meanwhile_after_it() -> None:
    hub, client, job = Hub(), Client(lambda: None), new_id()
    subscription = hub.subscribe(client, "s", topic())
    assert client.wanting == [subscription]
    hub.publish([news(job, 2)])
    hub.publish([news(job, 3)])
    assert frames(client) == []

    assert subscription.give(jobs_snapshot([news(job, 2)]))
    hub.publish([news(job, 4)])

    snapshot, *rest = frames(client)
    assert (snapshot["type"], [job["rev"] for job in snapshot["jobs"]]) == ("snapshot", [2])
    assert revs(rest) == [(str(job), 3), (str(job), 4)]


def test_a_settled_subscription_is_told_everything() -> None:
    hub, job = Hub(), new_id()
    client = followed(hub, topic(), jobs=[news(job, 5)])
    hub.publish([news(job, 5)])
    assert frames(client) == []
    client.subscriptions["s"].settle()
    hub.publish([news(job, 6)])
    assert revs(frames(client)) == [(str(job), 6)]


def test_progress_comes_behind_the_rev_that_it_belongs_to() -> None:
    hub, job = Hub(), new_id()
    client = followed(hub, topic(), jobs=[news(job, 5)])
    hub.publish([news(job, 4, progress=b'{"n":1}'), news(job, 5, progress=b'{"n":2}')])
    (frame,) = frames(client)
    assert [(event["rev"], event["progress"]) for event in frame["events"]] == [(5, {"n": 2})]


def test_one_frame_holds_a_bounded_text_and_subscriptions_take_turns() -> None:
    hub = Hub()
    client = followed(hub, topic(), "a")
    subscription = hub.subscribe(client, "b", topic("kind", "k"))
    subscription.give(jobs_snapshot([]))
    frames(client)
    hub.publish([news(new_id(), 1) for _ in range(3000)])

    sent = []
    while (frame := client.next_frame()) is not None:
        assert len(frame) < hub_module.FRAME_CHARS + 2**10
        sent.append(json.loads(frame))

    assert [frame["sub"] for frame in sent[:4]] == ["a", "b", "a", "b"]
    for sub in ("a", "b"):
        mine = [frame for frame in sent if frame["sub"] == sub]
        assert [frame["seq"] for frame in mine] == list(range(1, len(mine) + 1))
        assert len(revs(mine)) == 3000


def test_a_slow_client_falls_out_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "RING_CHARS", 2000)
    hub = Hub()
    slow, quick = followed(hub, topic()), followed(hub, topic())
    jobs = [new_id() for _ in range(100)]
    told = []
    for job in jobs:
        hub.publish([news(job, 1)])
        told += revs(frames(quick))
    assert told == [(str(job), 1) for job in jobs]

    (resync,) = frames(slow)
    assert resync == {"type": "resync", "sub": "s"}
    (subscription,) = slow.wanting
    hub.publish([news(jobs[0], 2)])
    assert frames(slow) == []
    assert subscription.give(jobs_snapshot([news(job, 1) for job in jobs]))
    snapshot, events = frames(slow)
    assert len(snapshot["jobs"]) == 100
    assert revs([events]) == [(str(jobs[0]), 2)]


def test_a_snapshot_that_came_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "RING_CHARS", 500)
    hub, client, job = Hub(), Client(lambda: None), new_id()
    subscription = hub.subscribe(client, "s", topic())
    for rev in range(1, 20):
        hub.publish([news(job, rev)])
    assert not subscription.give(jobs_snapshot([]))
    assert subscription.give(jobs_snapshot([news(job, 19)]))
    assert [frame["type"] for frame in frames(client)] == ["snapshot"]


def test_what_all_have_read_is_let_go() -> None:
    hub = Hub()
    clients = [followed(hub, topic()) for _ in range(3)]
    for _ in range(10):
        hub.publish([news(new_id(), 1)])
    (ring,) = hub.rings
    for client in clients[:2]:
        frames(client)
    assert len(list(ring.since(ring.base))) == 10
    hub.leave(clients[2])
    assert ring.base == ring.end
    hub.publish([news(new_id(), 1)])
    assert all(len(revs(frames(client))) == 1 for client in clients[:2])
    assert frames(clients[2]) == []


def test_who_left_leaves_nothing_behind() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic(), topic("kind", "k"), topic("batch", "b"), topic("ids", frozenset({job}))]
    client = Client(lambda: None)
    for number, scope in enumerate(scopes):
        hub.subscribe(client, number, scope)
    hub.unsubscribe(client, 0)
    with pytest.raises(FeedError, match="no subscription"):
        hub.unsubscribe(client, 0)
    hub.leave(client)
    hub.publish([news(job, 1, batch="b")])
    assert (hub.rings, client.subscriptions, client.wanting, client.ids, frames(client)) == ([], {}, [], 0, [])
    assert hub._by_id == {}


def test_a_connection_carries_so_much_and_no_more() -> None:
    hub, client = Hub(), Client(lambda: None)
    hub.subscribe(client, "a", topic())
    with pytest.raises(FeedError, match="in use"):
        hub.subscribe(client, "a", topic("kind", "k"))
    for number in range(hub_module.MAX_SUBSCRIPTIONS - 1):
        hub.subscribe(client, number, topic("batch", f"b{number}"))
    with pytest.raises(FeedError) as refused:
        hub.subscribe(client, "one more", topic())
    assert refused.value.problem.name == "too-many-subscriptions"
    many = Client(lambda: None)
    for number in range(10):
        hub.subscribe(many, number, topic("ids", frozenset(new_id() for _ in range(1000))))
    with pytest.raises(FeedError):
        hub.subscribe(many, "more", topic("ids", frozenset({new_id()})))


def test_what_happened_while_the_first_counts_were_taken_renews_them() -> None:
    hub = Hub()
    subscription = hub.subscribe(Client(lambda: None), "s", topic("batch", "b"))
    hub.publish([news(new_id(), 1, batch="b")])
    (ring,) = hub.rings
    # Those who renew find nobody with counts yet.
    ring.was_published = False

    subscription.give(counts_snapshot({State.QUEUED: 1}, None))

    assert ring.was_published


def test_counts_are_renewed_and_the_newest_wins() -> None:
    hub = Hub()
    client = followed(hub, topic("batch", "b"))
    subscription = client.subscriptions["s"]
    for count in (1, 2):
        subscription.give(counts_snapshot({State.QUEUED: count}, None))
    hub.publish([news(new_id(), 1, batch="b")])
    snapshot, events = frames(client)
    assert snapshot["counts"] == {State.QUEUED.value: 2}
    assert events["type"] == "events"
    subscription.give(counts_snapshot({State.FAILED: 7}, 100))
    assert frames(client)[0]["counted_at_most"] == 100


def test_a_break_in_the_stream_is_told_to_everybody() -> None:
    hub, job = Hub(), new_id()
    live, waiting = followed(hub, topic()), Client(lambda: None)
    pending = hub.subscribe(waiting, "s", topic())
    hub.lose()
    hub.publish([news(job, 9)])
    assert [frame["type"] for frame in frames(live)] == ["resync"]
    assert not pending.give(jobs_snapshot([]))
    for subscription in (pending, live.wanting[0]):
        assert subscription.give(jobs_snapshot([news(job, 9)]))
    hub.publish([news(job, 10)])
    for client in (live, waiting):
        assert [(frame["type"], revs([frame])) for frame in frames(client)] == [
            ("snapshot", []),
            ("events", [(str(job), 10)]),
        ]


class Observer:
    """A client that checks what it is told."""

    def __init__(self, hub: Hub, scope: Topic) -> None:
        self.woken = 0
        self.client = Client(self.wake)
        self.subscription = hub.subscribe(self.client, "s", scope)
        self.seen: dict[str, int] = {}
        self.is_whole = False
        self.seq = 0

    def wake(self) -> None:
        self.woken += 1

    def read(self, count: int) -> None:
        for _ in range(count):
            frame = self.client.next_frame()
            if frame is None:
                return
            self.take(json.loads(frame))

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "resync":
            self.is_whole = False
            self.seen.clear()
        elif frame["type"] == "snapshot":
            assert not self.is_whole
            self.is_whole = True
            self.seen = {job["id"]: job["rev"] for job in frame["jobs"]}
        else:
            self.seq += 1
            assert (self.is_whole, frame["seq"]) == (True, self.seq)
            for event in frame["events"]:
                # Each transition in turn: none twice, none left out.
                assert event["rev"] == self.seen.get(event["id"], 0) + 1
                self.seen[event["id"]] = event["rev"]


JOBS = [new_id() for _ in range(5)]
MOVES = st.one_of(
    st.tuples(st.just("move"), st.integers(0, len(JOBS) - 1)),
    st.tuples(st.just("publish"), st.integers(1, 4)),
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("look"), st.integers(0, 2)),
    st.tuples(st.just("give"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.just(0)),
)


@settings(max_examples=150)
@given(st.lists(MOVES, max_size=80))
def test_whatever_the_order_no_observer_misses_or_repeats_a_transition(steps: list[tuple[str, int]]) -> None:
    """The store may be ahead of the stream, looks may be late, observers slow: the end is the same for all."""
    original, hub_module.RING_CHARS = hub_module.RING_CHARS, 900
    try:
        hub = Hub()
        observers = [Observer(hub, scope) for scope in (topic(), topic("kind", "k"), topic("ids", frozenset(JOBS[:3])))]
        stored: dict[UUID, int] = defaultdict(int)
        unpublished: list[JobUpdate] = []
        looks: dict[int, list[JobUpdate]] = {}

        def look(number: int) -> None:
            scope = observers[number].subscription.ring.topic
            looks[number] = [news(j, rev) for j, rev in stored.items() if not scope.ids or j in scope.ids]

        def wanting(number: int) -> bool:
            return bool(observers[number].client.wanting)

        def give(number: int) -> None:
            subscription: Subscription = observers[number].subscription
            if subscription.give(jobs_snapshot(looks.pop(number))):
                observers[number].client.wanting.clear()

        for step, number in steps:
            if step == "move":
                stored[JOBS[number]] += 1
                unpublished.append(news(JOBS[number], stored[JOBS[number]]))
            elif step == "publish":
                hub.publish(unpublished[:number])
                del unpublished[:number]
            elif step == "read":
                observers[number].read(1)
                if wanting(number):
                    looks.pop(number, None)
            elif step == "look" and wanting(number):
                look(number)
            elif step == "give" and number in looks:
                give(number)
            elif step == "lose":
                hub.lose()
        hub.publish(unpublished)
        for number, observer in enumerate(observers):
            observer.read(1000)
            while wanting(number):
                look(number)
                give(number)
                observer.read(1000)
            ids = observer.subscription.ring.topic.ids
            assert observer.seen == {str(j): rev for j, rev in stored.items() if not ids or j in ids}
            assert observer.is_whole
    finally:
        hub_module.RING_CHARS = original


def test_publishing_to_many_scopes_takes_steps() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic("ids", frozenset({job, new_id()})) for _ in range(hub_module.STEPS_AT_ONCE)]
    clients = [followed(hub, scope) for scope in scopes]
    steps = list(hub.publishing([news(job, rev) for rev in range(1, 11)]))
    assert len(steps) >= 10
    assert [revs(frames(client)) for client in clients] == [[(str(job), rev) for rev in range(1, 11)]] * len(clients)


def test_publishing_goes_on_while_scopes_come_and_go() -> None:
    hub, job = Hub(), new_id()
    clients = [followed(hub, topic("ids", frozenset({job, new_id()}))) for _ in range(hub_module.STEPS_AT_ONCE * 2)]
    steps = hub.publishing([news(job, 1)])
    next(steps)
    for client in clients[::2]:
        hub.leave(client)
    late = followed(hub, topic("ids", frozenset({job})), jobs=[news(job, 1)])
    for _ in steps:
        pass
    assert all(revs(frames(client)) == [(str(job), 1)] for client in clients[1::2])
    hub.publish([news(job, 2)])
    assert revs(frames(late)) == [(str(job), 2)]


def test_texts_of_a_ring_that_nobody_reads_are_shared() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic("ids", frozenset({job, new_id()})) for _ in range(3)]
    for scope in scopes:
        followed(hub, scope)
    hub.publish([news(job, 1)])
    texts = {id(entry.events[0][2]) for ring in hub.rings for entry in ring.since(ring.base)}
    assert len(texts) == 1
