"""Callback endpoints: which jobs they have, what enables and disables them, and what attempts tell of them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from acked_common.model.callback_endpoints import (
    ACKED,
    FAILING_AFTER,
    FAILS_FOR,
    GONE_REASON,
    Disabled,
    Endpoint,
    EndpointMatch,
    EndpointOrder,
    EndpointOutcomes,
    define,
    disable,
    enable,
    keeps_notes,
    names_of,
    state_of,
    why_disabled,
    written,
)
from acked_common.model.callbacks import CALLBACK_KIND

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
ORDER = EndpointOrder("https://example.com/hook", ("job.failed",), ("mail",), (("authorization", "Bearer hidden"),))
MADE = define(None, ORDER, tenant="acme", name="billing", now=AT)
OFF = Disabled(AT, "ann", "moves")


def failing(endpoint: Endpoint = MADE, *, gone: bool = False) -> Endpoint:
    return replace(endpoint, failing_since=AT, gone_at=AT if gone else None, last_error="no")


def test_endpoint_wants_its_kinds_and_events_while_enabled() -> None:
    assert MADE.wants("mail", "job.failed")
    assert not MADE.wants("mail", "job.succeeded")
    assert not MADE.wants("report", "job.failed")
    assert not disable(MADE, OFF).wants("mail", "job.failed")
    assert not failing(gone=True).wants("mail", "job.failed")
    assert failing().wants("mail", "job.failed")


def test_endpoints_of_a_job_are_those_of_its_kind() -> None:
    matches = [EndpointMatch("acme", "z"), EndpointMatch("acme", "a", ("mail",)), EndpointMatch("acme", "b", ("x",))]
    assert names_of(matches, "mail") == ("a", "z")
    assert names_of(matches, "report") == ("z",)
    assert names_of(matches, CALLBACK_KIND) == ()


def test_definition_that_is_the_same_changes_nothing() -> None:
    assert (MADE.rev, MADE.made_at, MADE.changed_at) == (1, AT, AT)
    later = AT + timedelta(seconds=1)
    assert define(MADE, ORDER, tenant="acme", name="billing", now=later) is MADE
    changed = written(MADE, define(MADE, replace(ORDER, kinds=()), tenant="acme", name="billing", now=later), later)
    assert (changed.rev, changed.made_at, changed.changed_at, changed.order.kinds) == (2, AT, later, ())


def test_another_url_forgets_failures_and_stays_disabled() -> None:
    elsewhere = replace(ORDER, url="https://example.com/other")
    found = define(disable(failing(), OFF), elsewhere, tenant="acme", name="billing", now=AT)
    assert (found.failing_since, found.last_error, found.disabled) == (None, None, OFF)
    assert not keeps_notes(failing(), found)
    same_url = define(failing(), replace(ORDER, events=("job.succeeded",)), tenant="acme", name="billing", now=AT)
    assert same_url.failing_since == AT
    assert keeps_notes(failing(), same_url)


def test_enabled_endpoint_begins_anew() -> None:
    for stopped in (disable(failing(), OFF), failing(gone=True)):
        assert enable(stopped) == MADE
        assert not keeps_notes(stopped, enable(stopped))
    assert enable(failing()) == failing()
    assert enable(MADE) is MADE
    assert disable(disable(MADE, OFF), Disabled(AT, "bob")).disabled == OFF
    assert keeps_notes(failing(), disable(failing(), OFF))


@dataclass(frozen=True)
class Case:
    endpoint: Endpoint
    after: timedelta
    reason: str | None
    state: str


SECOND = timedelta(seconds=1)
ONLY_FAILED = "its deliveries have only failed for 5 days; the last error: no"
CASES = {
    "new": Case(MADE, FAILS_FOR, None, "enabled"),
    "fails": Case(failing(), FAILING_AFTER - SECOND, None, "enabled"),
    "fails-for-an-hour": Case(failing(), FAILING_AFTER, None, "failing"),
    "fails-for-nearly-five-days": Case(failing(), FAILS_FOR - SECOND, None, "failing"),
    "fails-for-five-days": Case(failing(), FAILS_FOR, ONLY_FAILED, "failing"),
    "gone": Case(failing(gone=True), SECOND, GONE_REASON, "disabled"),
    "off": Case(disable(failing(gone=True), OFF), FAILS_FOR, None, "off"),
    "disabled": Case(disable(failing(), Disabled(AT, ACKED, ONLY_FAILED)), FAILS_FOR, None, "disabled"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_endpoint_is_disabled_when_it_has_to_be(case: Case) -> None:
    now = AT + case.after
    assert (why_disabled(case.endpoint, now), state_of(case.endpoint, now)) == (case.reason, case.state)


def test_outcomes_add_up_from_the_last_success_on() -> None:
    one = EndpointOutcomes("acme", "billing", 1)
    later = AT + SECOND
    first, second = replace(one, failed_at=AT, error="a"), replace(one, failed_at=later, gone_at=later, error="b")
    assert first.followed_by(second) == replace(one, failed_at=AT, gone_at=later, error="b")
    succeeded = replace(one, succeeded=True)
    assert first.followed_by(succeeded) == succeeded
    assert succeeded.followed_by(second) == replace(second, succeeded=True)


def test_header_values_are_in_no_representation() -> None:
    assert "hidden" not in repr(MADE) and "example.com" in repr(MADE)
