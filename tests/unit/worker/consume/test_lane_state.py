"""When a lane claims, asks for more, fits its prefetch and returns bundles; no loop, no clock."""

from hypothesis import given
from hypothesis import strategies as st

from acked_worker.consume.lane_state import (
    RUNS_BETWEEN_LOOKS,
    LaneState,
)
from acked_worker.consume.prefetch import FITS_WITHIN_S, LEAST_QUICK, MOST, MOST_RETURNS

SLOTS = 200


def fits(jobs: int, ahead: int) -> bool:
    return True


def full(jobs: int, ahead: int) -> bool:
    return False


def arrived(*bundles: str, jobs: int = 1, slots: int = SLOTS) -> LaneState[str]:
    """A lane at which these bundles arrived, a second apart."""
    state: LaneState[str] = LaneState(slots)
    for at, bundle in enumerate(bundles):
        state.arrive(bundle, jobs, float(at))
    return state


def claimed(state: LaneState[str]) -> tuple[str, int]:
    """The next bundle that is claimed, and its jobs."""
    found = state.next_to_claim(fits)
    assert found is not None
    return found.bundle, found.jobs


def quick(jobs: int = 1) -> LaneState[str]:
    """A lane of quick jobs, with its prefetch fitted."""
    state: LaneState[str] = LaneState(SLOTS)
    for _ in range(RUNS_BETWEEN_LOOKS):
        state.arrive("bundle", jobs, 0.0)
        state.next_to_claim(fits)
        state.let_go()
        state.note_run(0.001)
    state.fit(SLOTS)
    return state


def test_bundles_are_claimed_in_order_of_arrival() -> None:
    state = arrived("a", "b", jobs=3)
    assert claimed(state) == ("a", 3)
    assert claimed(state) == ("b", 3)
    assert state.next_to_claim(fits) is None
    # A claimed bundle stays in hand until it is acknowledged.
    assert (state.in_hand, state.has_unclaimed) == (2, False)


def test_bundle_that_does_not_fit_stays_first() -> None:
    state = arrived("large", "small")
    assert state.next_to_claim(full) is None
    assert claimed(state) == ("large", 1)


def test_only_a_quick_lane_claims_ahead() -> None:
    asked: list[int] = []

    def noted(jobs: int, ahead: int) -> bool:
        asked.append(ahead)
        return True

    arrived("a").next_to_claim(noted)
    state = quick()
    state.arrive("b", 1, 0.0)
    state.next_to_claim(noted)
    assert asked[0] == 0 < SLOTS <= asked[1]


def test_unclaimed_bundles_return_the_last_one_first() -> None:
    state = arrived("a", "b", "c")
    state.next_to_claim(fits)
    assert state.returns_at() == 1.0 + FITS_WITHIN_S
    assert state.return_unclaimed() == ["c", "b"]
    assert (state.in_hand, state.returns_at()) == (1, None)


def test_bundle_that_was_returned_often_makes_the_others_wait() -> None:
    state = arrived("fresh")
    state.arrive("often", 1, 0.5, returns=10)
    assert state.returns_at() == 4 * FITS_WITHIN_S


def test_bundle_that_has_spent_its_returns_stays() -> None:
    state = arrived("fresh")
    state.arrive("last", 1, 0.5, returns=MOST_RETURNS)
    assert state.returns_at() == FITS_WITHIN_S
    assert state.return_unclaimed() == ["fresh"]
    assert (state.returns_at(), state.in_hand, state.has_unclaimed) == (None, 1, True)


def test_dropped_bundles_are_not_returned() -> None:
    state = arrived("a", "b")
    state.drop_unclaimed()
    assert state.return_unclaimed() == []
    assert state.next_to_claim(fits) is None


def test_lane_asks_while_what_it_asked_for_fits() -> None:
    state = arrived("a", jobs=8)
    state.fit_new_consumer(room=16)
    # Two bundles of 8 fit, and one of them is in hand: the other is asked for already.
    assert state.prefetch == 2
    assert not state.may_ask(room=8)
    assert state.may_ask(room=16)
    assert not state.may_ask(room=0)


def test_quick_lane_asks_whenever_there_is_room() -> None:
    state = quick()
    assert state.is_quick
    assert state.may_ask(room=1)
    assert not state.may_ask(room=0)


def test_prefetch_is_fitted_after_some_events() -> None:
    state: LaneState[str] = LaneState(SLOTS)
    due = [state.arrive("bundle", 1, 0.0) for _ in range(RUNS_BETWEEN_LOOKS)]
    due += [state.note_run(1.0) for _ in range(RUNS_BETWEEN_LOOKS)]
    assert [number for number, is_due in enumerate(due, 1) if is_due] == [RUNS_BETWEEN_LOOKS, 2 * RUNS_BETWEEN_LOOKS]


def test_fit_that_changes_nothing_needs_no_new_consumer() -> None:
    state = quick()
    assert state.prefetch == MOST
    assert not state.fit(SLOTS)
    assert not state.fit_new_consumer(SLOTS)


def test_prefetch_rises_only_when_it_was_used_up() -> None:
    state = arrived("a", jobs=2)
    state.fit(room=4)
    assert state.prefetch == 2
    state.let_go()
    state.fit(room=100)
    # One bundle was in hand since, of two.
    state.fit(room=100)
    assert state.prefetch == 2


def test_large_bundles_leave_a_quick_lane_its_least() -> None:
    assert quick(jobs=SLOTS).prefetch == LEAST_QUICK


@given(st.lists(st.tuples(st.sampled_from(["arrive", "claim", "return", "let go"]), st.integers(1, 32)), max_size=60))
def test_what_is_in_hand_is_what_came_less_what_went(steps: list[tuple[str, int]]) -> None:
    state: LaneState[int] = LaneState(SLOTS)
    came = went = claimed = 0
    for at, (step, jobs) in enumerate(steps):
        if step == "arrive":
            state.arrive(at, jobs, float(at))
            came += 1
        elif step == "claim" and state.next_to_claim(fits) is not None:
            claimed += 1
        elif step == "return":
            went += len(state.return_unclaimed())
        elif step == "let go" and claimed:
            state.let_go()
            claimed -= 1
            went += 1
        assert state.in_hand == came - went >= 0
