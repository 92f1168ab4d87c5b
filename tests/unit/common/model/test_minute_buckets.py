"""Counts by minute, tenant and kind: what is counted once appears once in every step, and sketches give durations."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model import interventions, lifecycle, poison
from acked_common.model.lifecycle import LIVE, TERMINAL, Owner, State, Transition
from acked_common.model.minute_buckets import (
    ACCEPTED,
    BACKED_OFF,
    BOUNDS_S,
    COUNTED,
    HOUR_S,
    KEPT_S,
    MINUTE_S,
    REQUEUED,
    RUN,
    SKETCHES,
    STARTED,
    STEPS_S,
    WAIT,
    WINDOWS,
    Bucket,
    MinuteCounts,
    Window,
    add,
    counted_as,
    quantile_s,
    span_of,
    start_rate_per_s,
    window_begin,
    window_points,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUE = {"grace_s": 10.0, "expires_in_s": 60.0}
KEEP = {"retention_s": 60.0}
ERROR = {"type": "Boom", "message": "it broke", "retryable": True, "attempt": 1}

TRANSITIONS: dict[str, tuple[State, Transition, str | None]] = {
    "claim": (
        State.QUEUED,
        lifecycle.claim(at=AT, owner=Owner("w", "b", "n"), lease_s=30.0),
        None,
    ),
    "succeed": (State.RUNNING, lifecycle.succeed(at=AT, result=b"1", **KEEP), State.SUCCEEDED.value),
    "fail": (State.RUNNING, lifecycle.fail(at=AT, error=ERROR, exhausted=True, **KEEP), State.FAILED.value),
    "back off": (State.RUNNING, lifecycle.back_off(at=AT, error=ERROR, delay_s=1.0), BACKED_OFF),
    "crash": (
        State.RUNNING,
        poison.crash(at=AT, how="signal 9", crashes=0, attempt=1, delay_s=1.0, **KEEP),
        BACKED_OFF,
    ),
    "poison": (
        State.RUNNING,
        poison.crash(at=AT, how="signal 9", crashes=2, attempt=3, delay_s=1.0, **KEEP),
        State.FAILED.value,
    ),
    "drain": (State.RUNNING, lifecycle.release(at=AT, **QUEUE), REQUEUED),
    "late start": (
        State.RUNNING,
        lifecycle.release(at=AT, reason=lifecycle.Reason.NOT_STARTED, delay_s=2.0, **QUEUE),
        REQUEUED,
    ),
    "lost lease": (State.RUNNING, lifecycle.take_back(at=AT, **QUEUE), REQUEUED),
    "due": (State.SCHEDULED, lifecycle.become_due(at=AT, **QUEUE), None),
    "cancel": (State.QUEUED, interventions.cancel(at=AT, **KEEP), State.CANCELLED.value),
    "request of a cancel": (State.RUNNING, interventions.request_cancel(at=AT), None),
    "end of a cancelled attempt": (State.RUNNING, lifecycle.end_cancelled(at=AT, **KEEP), State.CANCELLED.value),
    "resolve": (
        State.FAILED,
        interventions.resolve(at=AT, to=State.SUCCEEDED, result=b"1", note=None, **KEEP),
        None,
    ),
    "retry": (State.FAILED, interventions.retry(at=AT, **QUEUE), None),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_each_end_of_an_attempt_or_run_is_counted_once(name: str) -> None:
    seen, transition, counted = TRANSITIONS[name]
    assert counted_as(seen, transition) == counted


def test_every_terminal_state_has_a_count() -> None:
    assert {state.value for state in TERMINAL} < set(COUNTED)
    assert not {state.value for state in LIVE} & set(COUNTED)


NAMES = st.sampled_from(["a", "b", "c"])
EVENTS = st.lists(
    st.tuples(st.integers(0, 9000), NAMES, NAMES, st.sampled_from(COUNTED), st.integers(1, 5)), max_size=60
)


@given(EVENTS)
def test_each_step_holds_every_event_once(events: list[tuple[int, str, str, str, int]]) -> None:
    counts = MinuteCounts()
    for second, tenant, kind, name, by in events:
        add(counts.series(AT + timedelta(seconds=second), tenant, kind), name, by)
    buckets = counts.take()

    for step_s in STEPS_S:
        by_kind: Counter[tuple[str, str, datetime, str]] = Counter()
        for second, tenant, kind, name, by in events:
            at_s = int((AT + timedelta(seconds=second)).timestamp())
            by_kind[tenant, kind, datetime.fromtimestamp(at_s - at_s % step_s, UTC), name] += by
        total: Counter[tuple[str, datetime, str]] = Counter()
        for (tenant, _, at, name), by in by_kind.items():
            total[tenant, at, name] += by
        ours = [bucket for bucket in buckets if bucket.step_s == step_s and bucket.tenant is not None]
        found = {(b.tenant, b.kind, b.at, name): n for b in ours if b.kind for name, n in b.counts.items()}
        assert found == dict(by_kind)
        assert {(b.tenant, b.at, name): n for b in ours if b.kind is None for name, n in b.counts.items()} == dict(
            total
        )

    of_all = [bucket for bucket in buckets if bucket.tenant is None]
    assert {bucket.step_s for bucket in of_all} <= {MINUTE_S}
    assert all(bucket.counts.keys() == {STARTED} for bucket in of_all)
    started = sum(by for _, _, _, name, by in events if name == STARTED)
    assert sum(bucket.counts[STARTED] for bucket in of_all) == started
    assert counts.take() == []


def test_further_kinds_count_in_the_total_of_their_tenant() -> None:
    counts = MinuteCounts(most=3)
    for kind in range(10):
        add(counts.series(AT, "acme", f"k{kind}"), ACCEPTED)
    buckets = [bucket for bucket in counts.take() if bucket.step_s == MINUTE_S]
    assert {bucket.kind for bucket in buckets} == {"k0", "k1", "k2", None}
    assert {bucket.counts[ACCEPTED] for bucket in buckets if bucket.kind is None} == {10}


def test_memory_is_bounded_and_what_finds_no_room_is_told() -> None:
    counts = MinuteCounts(most=3)
    for tenant in range(10):
        add(counts.series(AT, f"t{tenant}", "k"), ACCEPTED)
        counts.series(AT, f"t{tenant}", "k")["wait.3"] = 1
    assert counts.uncounted == 4
    assert sum(bucket.counts[ACCEPTED] for bucket in counts.take() if bucket.kind is None and bucket.step_s == 60) == 6
    assert counts.uncounted == 0


def test_a_series_that_only_asked_for_its_place_makes_no_bucket() -> None:
    counts = MinuteCounts()
    counts.series(AT, "acme", "k")
    assert counts.take() == []


@given(st.lists(st.floats(0.0005, 2_000_000), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_within_an_eighth_of_the_true_one(durations: list[float], share: float) -> None:
    counts: dict[str, int] = {}
    for seconds in durations:
        add(counts, span_of(WAIT, seconds))
    ordered = sorted(durations)
    # The smallest duration that this share does not exceed.
    true = next(one for n, one in enumerate(ordered, 1) if n >= share * len(ordered))
    found = quantile_s(counts, WAIT, share)
    assert found is not None
    if true > BOUNDS_S[-1]:
        assert found == BOUNDS_S[-1]
    elif true > BOUNDS_S[0]:
        # A span reaches from its lower to its upper bound, a factor of 1.26.
        assert true / 1.27 <= found <= true * 1.27


def test_a_middle_of_many_is_exact_to_an_eighth() -> None:
    counts: dict[str, int] = {}
    for n in range(1, 10_001):
        add(counts, span_of(RUN, n / 1000))
    for share in (0.5, 0.95):
        found = quantile_s(counts, RUN, share)
        assert found is not None and abs(found / (10 * share) - 1) < 0.125


def test_the_quantile_of_nothing_is_none() -> None:
    assert quantile_s({"run.3": 1, ACCEPTED: 4}, WAIT, 0.5) is None


@pytest.mark.parametrize("sketch", SKETCHES)
def test_a_duration_of_nothing_or_less_counts_in_the_first_span(sketch: str) -> None:
    assert span_of(sketch, 0.0) == span_of(sketch, -1.0) == f"{sketch}.0"


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_spans_its_name_and_is_kept_for_as_long(name: str) -> None:
    window = WINDOWS[name]
    unit = {"m": 60, "h": HOUR_S, "d": 24 * HOUR_S}[name[-1]]
    assert window.points * window.step_s == int(name[:-1]) * unit
    assert window.points <= 400
    assert KEPT_S[window.step_s] >= (window.points + 1) * window.step_s


@given(st.sampled_from(sorted(WINDOWS)), st.integers(0, 10**6), st.data())
def test_points_add_up_what_is_inside_the_window(name: str, second: int, data: st.DataObject) -> None:
    window, now = WINDOWS[name], AT + timedelta(seconds=second)
    begin = window_begin(window, now)
    places = data.draw(st.lists(st.integers(-3, window.points + 3), max_size=20))
    buckets = [
        Bucket("acme", None, window.step_s, begin + timedelta(seconds=place * window.step_s), {ACCEPTED: 1})
        for place in places
    ]
    points = window_points(buckets, window, now)
    assert len(points) == window.points
    assert points[-1].at <= now < points[-1].at + timedelta(seconds=window.step_s)
    assert points[0].at == begin
    expected = Counter(place for place in places if 0 <= place < window.points)
    assert {n: point.counts[ACCEPTED] for n, point in enumerate(points) if point.counts} == dict(expected)


def test_points_are_the_sum_of_processes_and_stay_whole() -> None:
    window = Window(MINUTE_S, 2)
    at = AT.replace(second=0)
    both = [Bucket("a", "k", MINUTE_S, at, {ACCEPTED: n, "wait.7": n}) for n in (1, 2)]
    assert window_points(both, window, AT)[-1].counts == {ACCEPTED: 3, "wait.7": 3}
    assert [bucket.counts[ACCEPTED] for bucket in both] == [1, 2]


@pytest.mark.parametrize(
    ("earlier", "last", "this", "rate"),
    [
        (1, 600, 0, 10.0),
        (1, 600, 5, 10.0),
        (1, 60, 100, 20.0),
        # The queue may have begun in the last minute, or in this one.
        (0, 600, 5, None),
        (1, 0, 100, None),
        (0, 0, 100, None),
        (0, 0, 0, None),
    ],
)
def test_rate_of_starts_needs_a_minute_that_was_busy_as_a_whole(
    earlier: int, last: int, this: int, rate: float | None
) -> None:
    at = AT.replace(second=0)
    starts = [
        Bucket(None, "k", MINUTE_S, at - minutes * timedelta(seconds=60), {STARTED: count})
        for minutes, count in enumerate((this, last, earlier))
    ]
    assert start_rate_per_s(starts, AT) == rate
