"""The time in which a queued job expires stands still while its kind is paused, however often a sweeper looks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.pauses import (
    EXTENDED_WITHIN_S,
    LEAST_CREDIT_S,
    NO_PAUSES,
    CountedPauses,
    KindPauses,
    PastPause,
    Pause,
    Wait,
    extended,
    true_expiry,
    was_unclaimable,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def paused_since(seconds: float, *past: tuple[float, float]) -> KindPauses:
    return KindPauses(Pause("ann", None, None, at(seconds)), over(*past).past)


def over(*past: tuple[float, float]) -> KindPauses:
    return KindPauses(past=tuple(PastPause(at(start), at(end)) for start, end in past))


def waiting(lasts_s: float, queued_s: float = 0.0) -> Wait:
    return Wait(at(queued_s), at(queued_s + lasts_s))


def test_without_a_pause_nothing_moves() -> None:
    wait = waiting(100)
    for seconds in (0, 99, 100, 500):
        assert true_expiry(wait, NO_PAUSES, at(seconds)) == at(100)
        assert extended(wait, NO_PAUSES, at(seconds)) is None


@pytest.mark.parametrize(
    ("pauses", "paused_s"),
    [
        (over((10, 30)), 20),
        (over((-50, 30)), 30),
        (over((-50, -10)), 0),
        (over((10, 30), (40, 45)), 25),
        (over((10, 300)), 90),
        (paused_since(70), 30),
        (paused_since(70, (10, 30)), 50),
        (paused_since(-70), 100),
        (paused_since(200), 0),
    ],
)
def test_the_part_of_a_pause_that_lies_between_counts(pauses: KindPauses, paused_s: float) -> None:
    assert pauses.paused_between(at(0), at(100)) == timedelta(seconds=paused_s)


def test_an_expiry_that_is_far_away_is_not_written() -> None:
    wait = waiting(100)
    pauses = paused_since(10)
    assert extended(wait, pauses, at(100 - EXTENDED_WITHIN_S)) is None
    moved = extended(wait, pauses, at(100 - EXTENDED_WITHIN_S + 1))
    assert moved is not None and moved.expires_at > at(100 + LEAST_CREDIT_S)


def test_what_was_over_before_the_pause_stays_over() -> None:
    wait = waiting(100)
    assert true_expiry(wait, paused_since(101), at(200)) <= at(200)
    assert extended(wait, paused_since(101), at(200)) is None


def test_a_credit_is_taken_back_where_nothing_was_paused() -> None:
    moved = extended(waiting(100), paused_since(80), at(90))
    assert moved is not None
    # Paused from 80 to 95, 20 s before the end: it expires 20 s after the resume, whatever was written.
    assert true_expiry(moved, over((80, 95)), at(95)) == at(115)
    assert true_expiry(moved, over((80, 95)), at(114)) == at(115)
    assert moved.expires_at > at(115)
    assert extended(moved, over((80, 95)), at(114)) is None


def test_what_workers_refused_because_of_a_pause_may_have_to_be_published_again() -> None:
    # No sweeper ran while it was paused.
    pauses = over((80, 300))
    moved = extended(waiting(100), pauses, at(301))
    assert moved is not None
    assert moved.expires_at == true_expiry(moved, pauses, at(301)) == at(320)
    assert was_unclaimable(moved, next_check_at=at(100))
    assert not was_unclaimable(moved, next_check_at=at(302)), "it was published since"
    assert not was_unclaimable(waiting(100), next_check_at=at(100))
    credited = extended(waiting(100), paused_since(80), at(90))
    assert credited is not None and not was_unclaimable(credited, next_check_at=at(10))


def test_what_was_counted_in_an_earlier_wait_is_none_of_this_one() -> None:
    left_over = CountedPauses(at(-500), at(50), 60.0)
    wait = Wait(at(0), at(100), left_over)
    assert true_expiry(wait, over((10, 30)), at(40)) == at(120)
    assert not was_unclaimable(Wait(at(0), at(100), CountedPauses(at(-500), at(50), 0.0)), at(10))


def test_the_writes_of_a_long_pause_are_ever_further_apart() -> None:
    wait, pauses = waiting(60), paused_since(10)
    written: list[int] = []
    for second in range(10, 86_400):
        if (moved := extended(wait, pauses, at(second))) is not None:
            wait = moved
            written.append(second)
    assert len(written) <= 14, written


class Timeline:
    """A kind that is paused and resumed at whole seconds."""

    def __init__(self, switches: Sequence[int]) -> None:
        self._switches = sorted(set(switches))

    def is_paused(self, second: int) -> bool:
        return sum(switch <= second for switch in self._switches) % 2 == 1

    def known(self, second: int) -> KindPauses:
        """The result of a check at this second."""
        done = [switch for switch in self._switches if switch <= second]
        spans = list(zip(done[::2], done[1::2], strict=False))
        return paused_since(done[-1], *spans) if len(done) % 2 else over(*spans)

    def lived(self, begin: int, end: int) -> int:
        """For how long the kind was not paused."""
        return sum(not self.is_paused(second) for second in range(begin, end))


@given(
    switches=st.lists(st.integers(-100, 600), max_size=20),
    lasts=st.integers(1, 200),
    looks=st.lists(st.integers(0, 900), max_size=60).map(sorted),
)
def test_a_job_expires_when_it_has_waited_its_time_beside_the_pauses(
    switches: list[int], lasts: int, looks: list[int]
) -> None:
    timeline = Timeline(switches)
    wait = waiting(lasts)
    written: list[tuple[int, KindPauses]] = []
    for second in looks:
        pauses = timeline.known(second)
        has_expired = true_expiry(wait, pauses, at(second)) <= at(second)
        assert has_expired is (timeline.lived(0, second) >= lasts)
        moved = extended(wait, pauses, at(second))
        if has_expired:
            assert moved is None
            return
        if moved is not None:
            # The write does not change what is true.
            assert true_expiry(moved, pauses, at(second)) == true_expiry(wait, pauses, at(second))
            written.append((second, pauses))
            wait = moved
        assert wait.expires_at > at(second), "a worker may take it, as soon as it is resumed"
        assert extended(wait, pauses, at(second)) is None
    for (earlier, before), (later, after) in pairwise(written):
        if before.current is not None and before.current == after.current:
            assert later - earlier > LEAST_CREDIT_S - EXTENDED_WITHIN_S
