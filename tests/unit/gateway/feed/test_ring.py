"""A ring: what all have read is dropped, and a slow client falls out of it."""

import pytest

from acked_common.model.ids import new_id
from acked_gateway.feed import ring as ring_module
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import jobs_snapshot
from support.factories import topic
from support.hub import followed, frames, news, revs


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


def test_texts_of_a_ring_that_nobody_reads_are_shared() -> None:
    hub, job = Hub(), new_id()
    scopes = [topic("ids", frozenset({job, new_id()})) for _ in range(3)]
    for scope in scopes:
        followed(hub, scope)
    hub.publish([news(job, 1)])
    texts = {id(entry.events[0][2]) for ring in hub.rings for entry in ring.since(ring.base)}
    assert len(texts) == 1


def test_a_slow_client_falls_out_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "RING_CHARS", 2000)
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
    (subscription,) = slow.without_snapshot
    hub.publish([news(jobs[0], 2)])
    assert frames(slow) == []
    assert subscription.accept(jobs_snapshot([news(job, 1) for job in jobs]))
    snapshot, events = frames(slow)
    assert len(snapshot["jobs"]) == 100
    assert revs([events]) == [(str(jobs[0]), 2)]
