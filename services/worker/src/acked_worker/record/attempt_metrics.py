"""Count and time attempts by kind and outcome, one batch of the recorder at a time."""

from collections.abc import Iterable

from acked_common.background.job_metrics import count_attempts
from acked_common.model.attempts import AttemptOutcome
from acked_common.model.lifecycle import Reason, State
from acked_common.outcomes.outcome import (
    Crashed,
    Ending,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    Succeeded,
    TimedOut,
)
from acked_common.runtime.metrics import JOB_BOUNDS_S, LoopHistogram, kind_label
from acked_worker.consume.in_flight import InFlight

_durations = LoopHistogram(
    "acked_attempt_duration_seconds",
    "Time from the hand-over of a claimed job to its handler until the end of the attempt.",
    ("kind", "outcome"),
    bounds=JOB_BOUNDS_S,
)
_OUTCOMES: dict[type[Ending], str] = {
    Succeeded: State.SUCCEEDED.value,
    Failed: AttemptOutcome.FAILED.value,
    TimedOut: AttemptOutcome.TIMED_OUT.value,
    Crashed: AttemptOutcome.CRASHED.value,
    Parked: Reason.PARKED.value,
}
_INTERRUPTED = {reason: reason.name.lower() for reason in InterruptReason}


def outcome_of(ending: Ending) -> str:
    """Return the outcome of an ending, as in metrics."""
    return _INTERRUPTED[ending.reason] if isinstance(ending, Interrupted) else _OUTCOMES[type(ending)]


def count_recorded(recorded: Iterable[tuple[InFlight, Ending]]) -> None:
    """Count attempts whose outcome is stored, and the durations of those that were handed over."""
    took: dict[tuple[str, str], list[float]] = {}
    for held, ending in recorded:
        key = (held.job.kind, outcome_of(ending))
        if (durations := took.get(key)) is None:
            durations = took[key] = []
        durations.append(held.took_s)
    for (kind, outcome), durations in took.items():
        count_attempts(kind, outcome, len(durations))
        series = _durations.of((kind_label(kind), outcome))
        for took_s in durations:
            series.observe(took_s)
