"""Each attempt that was recorded counts once, with its outcome and how long it took."""

from typing import get_args

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from acked_common.model.attempts import AttemptOutcome
from acked_common.model.lifecycle_waits import Waits
from acked_common.outcomes.outcome import (
    NULL,
    Crashed,
    Ending,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    TimedOut,
    failed,
    timed_out,
)
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight
from acked_worker.record.attempt_metrics import count_recorded, outcome_of
from support.fields import filled

FAILED = failed("E", "no", retryable=True)
PARKED = Parked(Waits("sleep", "pause"), in_seq=0)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def held(kind: str, took_s: float) -> InFlight:
    made = InFlight(replace(filled(ClaimedJob), kind=kind), "lane", 0.0)
    made.took_s = took_s
    return made


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (NULL, "succeeded"),
        (FAILED, "failed"),
        (timed_out(1.0), "timed_out"),
        (Crashed("killed by SIGSEGV"), "crashed"),
        (Interrupted(InterruptReason.CANCELLED), "cancelled"),
        (Interrupted(InterruptReason.DRAINED), "drained"),
        (Interrupted(InterruptReason.NOT_STARTED), "not_started"),
        (PARKED, "parked"),
    ],
)
def test_every_ending_has_a_word(ending: Ending, outcome: str) -> None:
    assert outcome_of(ending) == outcome


def test_no_ending_is_without_a_word() -> None:
    interrupted = Interrupted(InterruptReason.DRAINED)
    made = {type(one) for one in (NULL, FAILED, timed_out(1.0), Crashed(""), interrupted, PARKED)}
    assert made == set(get_args(Ending))
    assert {outcome_of(one) for one in (FAILED, timed_out(1.0), Crashed(""))} == set(AttemptOutcome) - {
        AttemptOutcome.LOST
    }
    assert isinstance(FAILED, Failed) and isinstance(timed_out(1.0), TimedOut)


def test_a_batch_is_counted_and_timed_by_kind_and_outcome() -> None:
    count_recorded([(held("batch", 0.02), NULL), (held("batch", 3.0), NULL), (held("batch", 7.0), FAILED)])
    assert value("acked_attempts_total", kind="batch", outcome="succeeded") == 2
    assert value("acked_attempts_total", kind="batch", outcome="failed") == 1
    took = "acked_attempt_duration_seconds"
    assert value(f"{took}_count", kind="batch", outcome="succeeded") == 2
    assert value(f"{took}_sum", kind="batch", outcome="succeeded") == pytest.approx(3.02)
    assert value(f"{took}_bucket", kind="batch", outcome="succeeded", le="2.5") == 1
    assert value(f"{took}_bucket", kind="batch", outcome="failed", le="10.0") == 1
    assert value(f"{took}_bucket", kind="batch", outcome="failed", le="5.0") == 0
