"""What a worker tells of its kinds, and what it learns of those of others."""

from datetime import timedelta

import pytest

from acked import definition
from acked_common.model import bundling
from acked_worker.handlers.registration import unserved
from support.factories import ManualClock, kind_record

NOW = ManualClock().now()
SINCE = NOW - timedelta(seconds=60)


def test_kinds_of_the_own_lanes_that_only_others_serve_are_told() -> None:
    own = {"a": kind_record("a", "shared", seen_at=NOW), "alone": kind_record("alone", "alone", seen_at=NOW)}
    others = [
        kind_record("b", "shared", seen_at=NOW),
        kind_record("c", "elsewhere", seen_at=NOW),
        kind_record("gone", "shared", seen_at=SINCE - timedelta(seconds=1)),
        kind_record("never", "shared"),
    ]
    assert unserved(own, [*own.values(), *others], since=SINCE) == {"shared": ["b"]}
    assert unserved({}, others, since=SINCE) == {}


def test_handlers_and_services_have_one_largest_bundle() -> None:
    assert definition.MAX_BUNDLE == bundling.MAX_BUNDLE


@pytest.mark.parametrize(
    ("wished", "slots", "is_async", "size"),
    [
        (None, 1000, True, 32),
        (None, 100, True, 25),
        (None, 3, True, 1),
        (4, 1000, True, 4),
        (32, 40, True, 10),
        (None, 1000, False, 1),
    ],
)
def test_bundle_size_is_bounded_by_wish_slots_and_maximum(
    wished: int | None, slots: int, is_async: bool, size: int
) -> None:
    assert bundling.bundle_size(wished, slots=slots, is_async=is_async) == size
