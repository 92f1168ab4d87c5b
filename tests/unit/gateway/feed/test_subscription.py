"""A subscription: its snapshot first, then the events that followed it."""

import pytest

from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_gateway.feed import ring as ring_module
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import counts_snapshot, jobs_snapshot
from support.factories import topic
from support.hub import followed, frames, news, revs


def test_nothing_is_sent_before_the_snapshot_and_all_that_came_meanwhile_after_it() -> None:
    hub, client, job = Hub(), Client(lambda: None), new_id()
    subscription = hub.subscribe(client, "s", topic())
    assert client.without_snapshot == [subscription]
    hub.publish([news(job, 2)])
    hub.publish([news(job, 3)])
    assert frames(client) == []

    assert subscription.accept(jobs_snapshot([news(job, 2)]))
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


def test_a_snapshot_that_came_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "RING_CHARS", 500)
    hub, client, job = Hub(), Client(lambda: None), new_id()
    subscription = hub.subscribe(client, "s", topic())
    for rev in range(1, 20):
        hub.publish([news(job, rev)])
    assert not subscription.accept(jobs_snapshot([]))
    assert subscription.accept(jobs_snapshot([news(job, 19)]))
    assert [frame["type"] for frame in frames(client)] == ["snapshot"]


def test_what_happened_while_the_first_counts_were_taken_renews_them() -> None:
    hub = Hub()
    subscription = hub.subscribe(Client(lambda: None), "s", topic("batch", "b"))
    hub.publish([news(new_id(), 1, batch="b")])
    (ring,) = hub.rings
    # Those who renew find nobody with counts yet.
    ring.was_published = False

    subscription.accept(counts_snapshot({State.QUEUED: 1}, None))

    assert ring.was_published


def test_counts_are_renewed_and_the_newest_wins() -> None:
    hub = Hub()
    client = followed(hub, topic("batch", "b"))
    subscription = client.subscriptions["s"]
    for count in (1, 2):
        subscription.accept(counts_snapshot({State.QUEUED: count}, None))
    hub.publish([news(new_id(), 1, batch="b")])
    snapshot, events = frames(client)
    assert snapshot["counts"] == {State.QUEUED.value: 2}
    assert events["type"] == "events"
    subscription.accept(counts_snapshot({State.FAILED: 7}, 100))
    assert frames(client)[0]["counted_at_most"] == 100
