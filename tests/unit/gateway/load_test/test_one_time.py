"""The one-time value of the load test's page."""

import pytest

from acked_gateway.load_test import one_time
from acked_gateway.load_test.one_time import VALID_S, OneTimeValues

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0


@pytest.fixture
def gateway() -> OneTimeValues:
    return OneTimeValues(SECRET)


def test_value_is_taken_once_and_for_its_batch_alone(gateway: OneTimeValues) -> None:
    value = gateway.issue("b", NOW)
    assert not gateway.redeem(value, "other", NOW)
    assert gateway.redeem(value, "b", NOW)
    assert not gateway.redeem(value, "b", NOW)
    assert gateway.redeem(gateway.issue("c", NOW), "c", NOW)


def test_value_is_taken_by_another_process_with_the_same_secret(gateway: OneTimeValues) -> None:
    value = gateway.issue("b", NOW)
    assert not OneTimeValues("another-secret-another-secret").redeem(value, "b", NOW)
    assert not OneTimeValues(None).redeem(value, "b", NOW)
    assert OneTimeValues(SECRET).redeem(value, "b", NOW)


def test_value_without_a_shared_secret_is_of_its_process() -> None:
    alone = OneTimeValues(None)
    value = alone.issue("b", NOW)
    assert not OneTimeValues(None).redeem(value, "b", NOW)
    assert alone.redeem(value, "b", NOW)


def test_value_ends(gateway: OneTimeValues) -> None:
    value = gateway.issue("b", NOW)
    assert not gateway.redeem(value, "b", NOW + VALID_S + 1)
    assert gateway.redeem(value, "b", NOW + VALID_S - 1)


@pytest.mark.parametrize(
    "value", ["", ".", "x", "1800000300.", "1800000300.00", "nan.{mac}", "9999999999.{mac}", "\udce4.{mac}"]
)
def test_value_that_is_made_up_is_refused(gateway: OneTimeValues, value: str) -> None:
    _, _, mac = gateway.issue("b", NOW).partition(".")
    assert not gateway.redeem(value.format(mac=mac), "b", NOW)


def test_values_that_were_used_are_bounded(gateway: OneTimeValues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_time, "MOST_USED", 3)
    for batch in "abc":
        assert gateway.redeem(gateway.issue(batch, NOW), batch, NOW)
    assert not gateway.redeem(gateway.issue("d", NOW), "d", NOW)
    later = NOW + VALID_S + 1
    assert gateway.redeem(gateway.issue("d", later), "d", later)
    assert not gateway.redeem(gateway.issue("a", NOW), "a", later)
