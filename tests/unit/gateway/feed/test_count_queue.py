"""Which topic is counted next, and how much counts read."""

from collections import Counter

import pytest

from acked_common.model.topics import Topic
from acked_gateway.feed.count_queue import (
    KEPT_TENANTS,
    KEYS_AT_ONCE,
    KEYS_OF_A_READ,
    KEYS_PER_S,
    MOST_DEBT,
    SMALL,
    CountQueue,
)


def batch(name: str, tenant: str = "acme") -> Topic:
    return Topic(tenant, "batch", name)


def served(queue: CountQueue, sizes: dict[Topic, int], *, seconds: int) -> Counter[Topic]:
    """Let all topics have events all the time; return how often each was counted."""
    counts: Counter[Topic] = Counter()
    for topic in sizes:
        queue.join(topic, None, is_first=True)
    for second in range(seconds):
        while (started := queue.next(float(second))) is not None:
            counts[started.topic] += 1
            queue.settle(started, sizes[started.topic], float(second))
        for topic in sizes:
            queue.join(topic, sizes[topic], is_first=False)
    return counts


@pytest.mark.parametrize(("topics", "size"), [(1, 200_000), (1, 1_600_000), (3, 50_000), (20, 9_000), (200, 500)])
def test_keys_and_counts_per_second_are_bounded(topics: int, size: int) -> None:
    sizes = {batch(f"b{n}"): size for n in range(topics)}
    counts = served(CountQueue(), sizes, seconds=200)
    # The first counts are in a lane of their own; the last ones may begin on credit.
    most = KEYS_AT_ONCE + 200 * KEYS_PER_S + topics * (SMALL + KEYS_OF_A_READ) + 2 * size
    assert most / 4 < counts.total() * (size + KEYS_OF_A_READ) <= most
    assert min(counts[topic] for topic in sizes) >= 0.8 * max(counts.values()) - 1, "all in turn"


def test_small_topics_are_counted_each_second() -> None:
    sizes = {batch(f"b{n}"): 2_000 for n in range(10)}
    assert set(served(CountQueue(), sizes, seconds=60).values()) == {60}


def test_tenant_with_large_topics_does_not_delay_another() -> None:
    large = {batch(f"b{n}", "large"): 400_000 for n in range(50)}
    small = {batch(f"b{n}", "small"): 2_000 for n in range(10)}
    counts = served(CountQueue(), {**large, **small}, seconds=200)
    assert min(counts[topic] for topic in small) >= 199 and sum(counts[topic] for topic in large) > 8


def order(queue: CountQueue) -> list[Topic]:
    return [started.topic for started in iter(lambda: queue.next(0.0), None)]


def test_small_tenant_has_its_share_of_a_lane() -> None:
    many = {batch(f"b{n}", "many"): 9_000 for n in range(100)}
    few = {batch(f"b{n}", "few"): 9_000 for n in range(2)}
    counts = served(CountQueue(), {**many, **few}, seconds=300)
    of_few = sum(counts[topic] for topic in few)
    assert of_few > 0.4 * counts.total()


def test_first_count_of_a_topic_goes_ahead_of_repeated_ones() -> None:
    queue = CountQueue()
    queue.join(batch("a"), 10, is_first=False)
    queue.join(batch("b"), 10, is_first=False)
    queue.join(batch("c"), 10, is_first=True)
    queue.join(batch("b"), 10, is_first=True)
    queue.join(batch("c"), 10, is_first=False)
    assert [topic.value for topic in order(queue)] == ["c", "b", "a"]


def test_topic_whose_size_has_changed_is_counted_once() -> None:
    queue = CountQueue()
    for known in (None, 10, SMALL + 1):
        queue.join(batch("a"), known, is_first=False)
    assert order(queue) == [batch("a")]


def test_topic_that_left_is_not_counted() -> None:
    queue = CountQueue()
    for is_first in (True, False):
        queue.join(batch(str(is_first)), 10, is_first=is_first)
        queue.leave(batch(str(is_first)))
    queue.leave(batch("unknown", "unknown"))
    assert queue.next(0.0) is None


def test_topics_of_unknown_size_can_not_overdraw_the_large_lane() -> None:
    queue, read = CountQueue(), 0
    for second in range(100):
        queue.join(batch(f"b{second}"), None, is_first=True)
        if (started := queue.next(float(second))) is not None:
            queue.settle(started, 1_600_000, float(second))
            read += 1_600_000
    assert read <= KEYS_AT_ONCE + MOST_DEBT + 1_600_000 + 100 * KEYS_PER_S


def test_new_tenant_has_no_claim_from_the_past() -> None:
    queue = CountQueue()
    queue.join(batch("waits", "other"), 1_000, is_first=False)
    for n in range(20):
        queue.join(batch(f"a{n}"), 1_000, is_first=False)
    assert len([queue.next(0.0) for _ in range(11)]) == 11
    for n in range(10):
        queue.join(batch(f"n{n}", "new"), 1_000, is_first=False)
    assert [topic.tenant for topic in order(queue)][:8].count("acme") >= 3


@pytest.mark.parametrize("is_busy", [False, True])
def test_tenants_of_the_past_are_forgotten(is_busy: bool) -> None:
    queue = CountQueue()
    counts = Counter[str]()
    for n in range(10 * KEPT_TENANTS):
        queue.join(batch("b", f"tenant-{n}"), 1, is_first=True)
        if is_busy:
            queue.join(batch("b"), 1, is_first=False)
        for _ in range(1 + is_busy):
            started = queue.next(10.0 * n)
            assert started is not None
            counts[started.topic.tenant] += 1
    assert len(queue._small._read) <= KEPT_TENANTS + 9
    assert counts["acme"] == is_busy * 10 * KEPT_TENANTS
