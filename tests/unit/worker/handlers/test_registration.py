"""What a worker tells of its kinds, and what it learns of those of others."""

from datetime import timedelta

from acked_common.store.records import KindRecord
from acked_worker.handlers.registration import unserved
from support.factories import ManualClock

NOW = ManualClock().now()
SINCE = NOW - timedelta(seconds=60)


def test_kinds_of_the_own_lanes_that_only_others_serve_are_told() -> None:
    own = {"a": KindRecord("a", "shared", seen_at=NOW), "alone": KindRecord("alone", "alone", seen_at=NOW)}
    others = [
        KindRecord("b", "shared", seen_at=NOW),
        KindRecord("c", "elsewhere", seen_at=NOW),
        KindRecord("gone", "shared", seen_at=SINCE - timedelta(seconds=1)),
        KindRecord("never", "shared"),
    ]
    assert unserved(own, [*own.values(), *others], since=SINCE) == {"shared": ["b"]}
    assert unserved({}, others, since=SINCE) == {}
