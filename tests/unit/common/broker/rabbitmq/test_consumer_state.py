"""What the consumer of a queue does next."""

import pytest

from acked_common.broker.rabbitmq.consumer_state import (
    LOOK_EVERY_S,
    RESTART,
    ROUND_S,
    ConsumerState,
    ConsumerStep,
)


def consuming(prefetch: int | None = 4) -> ConsumerState:
    state = ConsumerState(prefetch, 0.0)
    state.consumed(prefetch, 10.0)
    return state


def test_new_consumer_consumes_then_is_checked() -> None:
    state = ConsumerState(4, 0.0)
    assert (state.next_step(), state.expects_messages) == (ConsumerStep.CONSUME, False)
    state.consumed(4, 10.0)
    assert (state.next_step(), state.expects_messages) == (ConsumerStep.CHECK, True)
    assert state.consumes_since == 10.0


def test_pause_cancels_and_rests_until_each_reason_is_gone() -> None:
    state = consuming()
    assert [state.pause("a"), state.pause("a"), state.pause("b")] == [True, False, True]
    assert state.next_step() is ConsumerStep.CANCEL
    state.cancelling(is_open=True)
    assert (state.next_step(), state.is_paused) == (ConsumerStep.REST, True)
    assert [state.resume("a"), state.resume("a")] == [True, False]
    assert state.next_step() is ConsumerStep.REST
    state.resume("b")
    assert (state.next_step(), state.is_paused) == (ConsumerStep.CONSUME, False)


def test_paused_consumer_without_a_channel_rests() -> None:
    state = ConsumerState(4, 0.0)
    state.pause("a")
    assert state.next_step() is ConsumerStep.REST


def test_other_prefetch_takes_a_new_consumer() -> None:
    state = consuming()
    assert [state.set_prefetch(4), state.set_prefetch(8)] == [False, True]
    assert state.next_step() is ConsumerStep.CANCEL
    state.cancelling(is_open=True)
    # Messages come again in a moment: it counts as consuming.
    assert (state.next_step(), state.expects_messages) == (ConsumerStep.CONSUME, True)
    state.consumed(8, 11.0)
    assert state.next_step() is ConsumerStep.CHECK


def test_prefetch_that_changes_while_it_is_applied_is_applied_next() -> None:
    state = consuming()
    state.set_prefetch(8)
    state.cancelling(is_open=True)
    state.set_prefetch(16)
    state.consumed(8, 11.0)
    assert state.next_step() is ConsumerStep.CANCEL


@pytest.mark.parametrize("ends", [lambda state: state.dropped(), lambda state: state.cancelling(is_open=False)])
def test_consumer_whose_channel_is_gone_expects_nothing(ends: object) -> None:
    state = consuming()
    ends(state)  # type: ignore[operator]
    assert (state.next_step(), state.expects_messages) == (ConsumerStep.CONSUME, False)


def test_channel_that_goes_between_two_consumers_is_noticed() -> None:
    state = consuming()
    state.cancelling(is_open=True)
    state.dropped()
    assert not state.expects_messages


def test_queue_is_looked_at_now_and_then() -> None:
    state = consuming()
    assert not state.take_look(10.0 + LOOK_EVERY_S - 0.1)
    assert state.take_look(10.0 + LOOK_EVERY_S)
    assert not state.take_look(10.0 + LOOK_EVERY_S + 0.1)
    state.consumed(4, 16.0)
    assert not state.take_look(16.0 + LOOK_EVERY_S - 0.1)


def test_failures_back_off_until_it_consumes_again() -> None:
    state = consuming()
    assert state.wait_s(1.0) == ROUND_S
    assert [state.failed() for _ in range(9)] == [True] + [False] * 8
    assert (state.wait_s(0.0), state.wait_s(1.0)) == (RESTART.cap_s / 2, RESTART.cap_s)
    state.consumed(4, 20.0)
    assert state.wait_s(1.0) == ROUND_S
    assert state.failed()
    assert state.wait_s(1.0) == 0.4
