"""OWNER of the rule of retries: which failures are retried, and after which delay. Pure."""

from email.utils import parsedate_to_datetime

from acked_client.core.effects import Lost, Response
from acked_client.model.requests import RetryPolicy

REPEATED = frozenset({408, 429, 502, 503, 504})
"""Statuses of responses that a later request may not get; every other one from 300 on is final."""
UNKNOWN_OUTCOME = frozenset({502, 504})
"""Statuses of proxies: the upstream server may have served the request."""
_MAX_DOUBLINGS = 30


def next_wait_s(
    policy: RetryPolicy, outcome: Response | Lost, *, failures: int, elapsed_s: float, fraction: float
) -> float | None:
    """Return how long to wait before the request is repeated; None to give up.

    `failures` counts those before this one, `elapsed_s` is the time since the call began, and `fraction` is drawn
    uniformly from 0 to 1 (full jitter). The wait is never shorter than `Retry-After`, and never exceeds the budget.
    """
    asked_s = 0.0
    if isinstance(outcome, Response):
        if outcome.status not in REPEATED:
            return None
        asked_s = retry_after_s(outcome) or 0.0
    elif outcome.is_final:
        return None
    left_s = policy.budget_s - elapsed_s
    if left_s <= 0 or asked_s > left_s:
        return None
    return min(asked_s + backoff_s(policy, failures, fraction), left_s)


def backoff_s(policy: RetryPolicy, failures: int, fraction: float) -> float:
    """Return a share of the longest wait after so many failures."""
    return fraction * min(policy.cap_s, policy.base_s * float(2 ** min(failures, _MAX_DOUBLINGS)))


def retry_after_s(response: Response) -> float | None:
    """Return the `Retry-After` of a response in seconds; None without a valid one.

    A date counts from the `Date` of the same response: the clock of this machine may differ from the server's.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        sent_at = parsedate_to_datetime(response.headers.get("date", ""))
        return max(0.0, (at - sent_at).total_seconds())
    except (TypeError, ValueError):
        return None


def may_have_effect(outcome: Response | Lost) -> bool:
    """Return whether the failed request may have taken effect."""
    if isinstance(outcome, Lost):
        return outcome.may_have_arrived
    return outcome.status in UNKNOWN_OUTCOME
