"""What is repeated, and when."""

import math

from hypothesis import given
from hypothesis import strategies as st

from acked_client.core.effects import Lost, Response
from acked_client.core.retry import REPEATED, next_wait_s, retry_after_s
from acked_client.model.requests import RetryPolicy

seconds = st.floats(0, 1e6)
policies = st.builds(RetryPolicy, budget_s=seconds, base_s=st.floats(0, 10), cap_s=st.floats(0, 100))
headers = st.one_of(
    st.just({}),
    st.integers(0, 10**12).map(lambda number: {"retry-after": str(number)}),
    st.text(max_size=20).map(lambda text: {"retry-after": text}),
)
outcomes = st.one_of(
    st.builds(Lost, st.just("lost"), st.booleans(), st.booleans()),
    st.builds(Response, st.integers(300, 599), headers),
)


@given(policies, outcomes, st.integers(0, 10_000), seconds, st.floats(0, 1))
def test_wait_is_bounded_and_obeys_the_server(
    policy: RetryPolicy, outcome: Response | Lost, failures: int, elapsed_s: float, fraction: float
) -> None:
    wait_s = next_wait_s(policy, outcome, failures=failures, elapsed_s=elapsed_s, fraction=fraction)
    asked_s = (retry_after_s(outcome) or 0.0) if isinstance(outcome, Response) else 0.0
    may = outcome.status in REPEATED if isinstance(outcome, Response) else not outcome.is_final
    has_time = elapsed_s < policy.budget_s and asked_s <= policy.budget_s - elapsed_s
    assert (wait_s is not None) == (may and has_time)
    if wait_s is not None:
        assert math.isfinite(wait_s) and asked_s <= wait_s <= asked_s + policy.cap_s
        assert elapsed_s + wait_s <= policy.budget_s or math.isclose(elapsed_s + wait_s, policy.budget_s)


@given(policies, st.integers(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_jitter_is_full_and_grows_with_failures(policy: RetryPolicy, failures: int, low: float, high: float) -> None:
    lost = Lost("lost", may_have_arrived=True)
    low, high = sorted((low, high))

    def wait(count: int, fraction: float) -> float:
        return next_wait_s(policy, lost, failures=count, elapsed_s=0, fraction=fraction) or 0.0

    assert wait(failures, 0.0) == 0.0
    assert wait(failures, low) <= wait(failures, high)
    assert wait(failures, high) <= wait(failures + 1, high)


def test_other_refusals_are_final() -> None:
    for status in (301, 400, 401, 403, 404, 409, 413, 422, 500, 501):
        response = Response(status, {"retry-after": "1"})
        assert next_wait_s(RetryPolicy(), response, failures=0, elapsed_s=0, fraction=1) is None


def test_date_of_retry_after_counts_from_the_response() -> None:
    date = "Tue, 24 Nov 2026 10:00:00 GMT"
    after = {"retry-after": "Tue, 24 Nov 2026 10:00:07 GMT"}
    assert retry_after_s(Response(503, after | {"date": date})) == 7.0
    assert retry_after_s(Response(503, after)) is None
    assert retry_after_s(Response(503, {"retry-after": date, "date": after["retry-after"]})) == 0.0
    assert retry_after_s(Response(503, {"retry-after": "1.5"})) is None
    assert retry_after_s(Response(503, {"retry-after": "\u0663"})) is None
