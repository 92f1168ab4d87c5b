"""The hub: which clients an update reaches, in which order, and what remains when they leave."""

import json
from collections import defaultdict
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked_common.model.events import JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.topics import GONE, Topic
from acked_gateway.feed import ring as ring_module
from acked_gateway.feed.client import Client
from acked_gateway.feed.frames import FeedError
from acked_gateway.feed.hub import MAX_SUBSCRIPTIONS, STEPS_AT_ONCE, Hub
from acked_gateway.feed.subscription import Subscription, jobs_snapshot
from support.factories import topic
from support.hub import followed, frames, news, revs


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


def test_who_left_leaves_nothing_behind() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic(), topic("kind", "k"), topic("batch", "b"), topic("ids", frozenset({job}))]
    client = Client(lambda: None)
    for number, scope in enumerate(scopes):
        hub.subscribe(client, number, scope)
    hub.unsubscribe(client, 0)
    with pytest.raises(FeedError, match="unknown subscription"):
        hub.unsubscribe(client, 0)
    hub.leave(client)
    hub.publish([news(job, 1, batch="b")])
    assert (hub.rings, client.subscriptions, client.without_snapshot, client.ids, frames(client)) == ([], {}, [], 0, [])
    assert hub._by_id == {}


def test_a_connection_carries_so_much_and_no_more() -> None:
    hub, client = Hub(), Client(lambda: None)
    hub.subscribe(client, "a", topic())
    with pytest.raises(FeedError, match="in use"):
        hub.subscribe(client, "a", topic("kind", "k"))
    for number in range(MAX_SUBSCRIPTIONS - 1):
        hub.subscribe(client, number, topic("batch", f"b{number}"))
    with pytest.raises(FeedError) as refused:
        hub.subscribe(client, "one more", topic())
    assert refused.value.problem.name == "too-many-subscriptions"
    many = Client(lambda: None)
    for number in range(10):
        hub.subscribe(many, number, topic("ids", frozenset(new_id() for _ in range(1000))))
    with pytest.raises(FeedError):
        hub.subscribe(many, "more", topic("ids", frozenset({new_id()})))


def test_a_break_in_the_stream_is_told_to_everybody() -> None:
    hub, job = Hub(), new_id()
    live, waiting = followed(hub, topic()), Client(lambda: None)
    pending = hub.subscribe(waiting, "s", topic())
    hub.resync_all()
    hub.publish([news(job, 9)])
    assert [frame["type"] for frame in frames(live)] == ["resync"]
    assert not pending.accept(jobs_snapshot([]))
    for subscription in (pending, live.without_snapshot[0]):
        assert subscription.accept(jobs_snapshot([news(job, 9)]))
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
    original, ring_module.RING_CHARS = ring_module.RING_CHARS, 900
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
            return bool(observers[number].client.without_snapshot)

        def give(number: int) -> None:
            subscription: Subscription = observers[number].subscription
            if subscription.accept(jobs_snapshot(looks.pop(number))):
                observers[number].client.without_snapshot.clear()

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
                hub.resync_all()
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
        ring_module.RING_CHARS = original


def test_publishing_to_many_scopes_takes_steps() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic("ids", frozenset({job, new_id()})) for _ in range(STEPS_AT_ONCE)]
    clients = [followed(hub, scope) for scope in scopes]
    steps = list(hub.publishing([news(job, rev) for rev in range(1, 11)]))
    assert len(steps) >= 10
    assert [revs(frames(client)) for client in clients] == [[(str(job), rev) for rev in range(1, 11)]] * len(clients)


def test_publishing_goes_on_while_scopes_come_and_go() -> None:
    hub, job = Hub(), new_id()
    clients = [followed(hub, topic("ids", frozenset({job, new_id()}))) for _ in range(STEPS_AT_ONCE * 2)]
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
