"""The token bucket, as it polices and as it shapes."""

import pytest

from acked_common.model.token_bucket import TokenBucket


def test_bucket_take_lets_a_burst_through_then_asks_to_wait() -> None:
    bucket = TokenBucket(10.0, 3.0)
    assert [bucket.take(1, 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert bucket.take(1, 100.1) == pytest.approx(0.1)
    assert bucket.take(1, 200.0) == 0
    assert bucket.take(5, 200.0) == pytest.approx(0.3), "the bucket holds no more than the burst"


def test_bucket_try_take_refuses_and_costs_nothing() -> None:
    bucket = TokenBucket(2.0, 2)
    assert [bucket.try_take(1, 0.0) for _ in range(3)] == [True, True, False]
    assert bucket.wait_s(1) == 0.5
    assert not any(bucket.try_take(1, 0.25) for _ in range(100))
    assert bucket.tokens == 0.5
    assert bucket.try_take(1, 0.5)
    assert bucket.wait_s(0) == 0


def test_bucket_is_full_before_its_first_take_and_after_it_filled() -> None:
    bucket = TokenBucket(1.0, 2)
    assert bucket.try_take(2, 7.0)
    assert not bucket.is_full(8.5)
    assert bucket.is_full(9.0)
    assert bucket.is_full(1000.0)
    assert bucket.tokens == 2
