"""How counts become the figures of a census."""

from datetime import UTC, datetime, timedelta

from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.store import census
from acked_common.store.census import (
    KINDS,
    LIVE_KEYS,
    MINUTES,
    OTHER_KINDS,
    GroupCount,
    GroupTally,
    KindCount,
    LiveCount,
    Newest,
    TenantCensus,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LONG_AGO = AT - timedelta(days=3)


def tally(group: str, minutes_ago: int | None, count: int, kind: str | None = None) -> GroupTally:
    minute = None if minutes_ago is None else MINUTE - timedelta(minutes=minutes_ago)
    at = LONG_AGO if minute is None else minute + timedelta(seconds=30)
    return GroupTally(group, kind, minute, count, at, at)


def count(group: str, number: int, kind: str = "k", *, is_exact: bool = True) -> GroupCount:
    return GroupCount(group, number, is_exact, AT, AT, new_id(), (0,) * MINUTES, {kind: number})


def test_a_group_has_its_minutes_and_what_was_before() -> None:
    newest = Newest("1a", new_id(), AT)
    (found,) = census.group_counts(
        [newest], [tally("1a", None, 5), tally("1a", 59, 1), tally("1a", 0, 2), tally("1b", 0, 7)], AT, exact={}
    )
    assert (found.group, found.count, found.is_exact, found.newest) == ("1a", 8, True, newest.id)
    assert (found.first_at, found.last_at) == (LONG_AGO, MINUTE + timedelta(seconds=30))
    assert found.per_minute == (1, *(0,) * 58, 2)


def test_a_job_that_failed_during_the_count_belongs_to_the_last_minute() -> None:
    (found,) = census.group_counts([Newest("1a", new_id(), AT)], [tally("1a", -1, 1)], AT, exact={})
    assert found.per_minute[-1] == 1
    assert found.last_at > AT


def test_a_group_that_lost_its_jobs_during_the_count_is_gone() -> None:
    assert census.group_counts([Newest("1a", new_id(), AT)], [], AT, exact={}) == []


def test_what_was_not_counted_to_its_end_says_so() -> None:
    groups = [Newest("1a", new_id(), AT), Newest("1b", new_id(), AT)]
    found = census.group_counts(groups, [tally("1a", 0, 1), tally("1b", 0, 1)], AT, exact={"1a": False})
    assert [group.is_exact for group in found] == [False, True]


def test_jobs_of_a_group_with_several_kinds_count_to_each() -> None:
    (found,) = census.group_counts(
        [Newest("ungrouped", new_id(), AT)],
        [tally("ungrouped", 0, 2, "a"), tally("ungrouped", 1, 3, "b")],
        AT,
        exact={},
    )
    assert (found.count, found.kinds) == (5, {"a": 2, "b": 3})
    assert census.with_kind(found, "a") is found
    (single,) = census.group_counts([Newest("1a", new_id(), AT)], [tally("1a", 0, 2)], AT, exact={})
    assert census.with_kind(single, "c").kinds == {"c": 2}
    assert census.with_kind(single, None).kinds == {}


def test_figures_are_summed_over_states_and_tenants() -> None:
    live = [
        LiveCount(State.QUEUED, "a", 3, LONG_AGO),
        LiveCount(State.RUNNING, "a", 1, AT - timedelta(days=9)),
        LiveCount(State.SCHEDULED, "b", 2, None),
    ]
    tenants = [
        TenantCensus("acme", AT, [count("1a", 5, "a"), count("1b", 7, "b")], is_complete=True),
        TenantCensus("globex", AT, [count("1a", 11, "a")], is_complete=True),
    ]
    found = census.summarize(live, tenants, snoozed=frozenset({("acme", "1a")}), at=AT, took_s=0.5)
    assert found.kinds == [
        KindCount("a", {State.QUEUED: 3, State.RUNNING: 1, State.FAILED: 16}, LONG_AGO, 11),
        KindCount("b", {State.SCHEDULED: 2, State.FAILED: 7}, None, 7),
    ]
    assert (found.counted_at, found.took_s, found.inexact) == (AT, 0.5, frozenset())


def test_states_with_more_jobs_than_were_counted_are_named() -> None:
    live = [LiveCount(State.QUEUED, "a", LIVE_KEYS - 1, AT), LiveCount(State.QUEUED, "b", 1, AT)]
    inexact = TenantCensus("acme", AT, [count("1a", 1, is_exact=False)], is_complete=True)
    incomplete = TenantCensus("acme", AT, [], is_complete=False)
    for tenant in (inexact, incomplete):
        found = census.summarize(live, [tenant], snoozed=frozenset(), at=AT, took_s=0.0)
        assert found.inexact == {State.QUEUED, State.FAILED}


def test_kinds_beyond_the_bound_count_together() -> None:
    live = [LiveCount(State.QUEUED, f"k{number:04}", 1, AT - timedelta(seconds=number)) for number in range(KINDS + 5)]
    tenants = [TenantCensus("acme", AT, [count("1a", 2, f"k{KINDS:04}")], is_complete=True)]
    found = census.summarize(live, tenants, snoozed=frozenset(), at=AT, took_s=0.0)
    assert len(found.kinds) == KINDS + 1
    oldest = AT - timedelta(seconds=KINDS + 4)
    assert found.kinds[-1] == KindCount(OTHER_KINDS, {State.QUEUED: 5, State.FAILED: 2}, oldest, 2)
