"""Whether a consumer is deaf, or has been silent for long."""

from acked_common.broker.rabbitmq.liveness import DEAF_AFTER_S, SILENT_S, ConsumerLiveness, Verdict

LOOK_S = 5.0


def test_a_consumer_that_gets_nothing_while_bundles_wait_is_deaf() -> None:
    liveness = ConsumerLiveness()
    assert liveness.look(3, 10.0, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(3, 10.0 + DEAF_AFTER_S, consumes_since=0.0) is Verdict.DEAF


def test_one_look_tells_nothing_of_bundles_that_have_just_come() -> None:
    liveness = ConsumerLiveness()
    assert liveness.look(3, 10.0, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(0, 15.0, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(3, 20.0, consumes_since=0.0) is Verdict.HEARS


def test_who_has_a_bundle_in_hand_is_not_to_get_one() -> None:
    liveness = ConsumerLiveness()
    liveness.heard(1.0)
    for now in (10.0, 20.0, 500.0):
        assert liveness.look(3, now, consumes_since=0.0) is Verdict.HEARS
    liveness.acknowledged(501.0)
    assert liveness.look(3, 505.0, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(3, 510.0, consumes_since=0.0) is Verdict.DEAF


def test_who_hears_between_two_looks_is_not_deaf() -> None:
    liveness = ConsumerLiveness()
    for now in range(10, 200, 5):
        assert liveness.look(3, now, consumes_since=0.0) is Verdict.HEARS
        liveness.heard(now + 1.0)
        liveness.acknowledged(now + 2.0)


def test_a_new_consumer_is_judged_anew() -> None:
    liveness = ConsumerLiveness()
    assert liveness.look(3, 10.0, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(3, 15.0, consumes_since=14.0) is Verdict.HEARS
    assert liveness.look(3, 20.0, consumes_since=14.0) is Verdict.DEAF


def test_who_was_silent_for_long_is_made_anew_once() -> None:
    liveness = ConsumerLiveness()
    liveness.heard(1.0)
    liveness.acknowledged(2.0)
    assert liveness.look(0, 2.0 + SILENT_S - 0.1, consumes_since=0.0) is Verdict.HEARS
    assert liveness.look(0, 2.0 + SILENT_S, consumes_since=0.0) is Verdict.SILENT
    assert liveness.look(0, 2.0 + SILENT_S + LOOK_S, consumes_since=2.0 + SILENT_S) is Verdict.HEARS
