"""A client: bounded frames, one of each subscription in turn."""

import json

from acked_common.model.ids import new_id
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import FRAME_CHARS, jobs_snapshot
from support.factories import topic
from support.hub import followed, frames, news, revs


def test_one_frame_holds_a_bounded_text_and_subscriptions_take_turns() -> None:
    hub = Hub()
    client = followed(hub, topic(), "a")
    subscription = hub.subscribe(client, "b", topic("kind", "k"))
    subscription.accept(jobs_snapshot([]))
    frames(client)
    hub.publish([news(new_id(), 1) for _ in range(3000)])

    sent = []
    while (frame := client.next_frame()) is not None:
        assert len(frame) < FRAME_CHARS + 2**10
        sent.append(json.loads(frame))

    assert [frame["sub"] for frame in sent[:4]] == ["a", "b", "a", "b"]
    for sub in ("a", "b"):
        mine = [frame for frame in sent if frame["sub"] == sub]
        assert [frame["seq"] for frame in mine] == list(range(1, len(mine) + 1))
        assert len(revs(mine)) == 3000
