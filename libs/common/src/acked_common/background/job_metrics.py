"""OWNER of the metrics that several services share: ended jobs, attempts, servers, the version."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version

from acked_common.model.lifecycle import Move, Reason, State
from acked_common.runtime.metrics import LoopCounter, Reading, ScrapedGauge, kind_label
from acked_common.store.records import Applied

_ended = LoopCounter(
    "acked_jobs_ended_total", "Jobs that came to an end, by their last transition.", ("kind", "state", "reason")
)
_attempts = LoopCounter("acked_attempts_total", "Attempts that have ended, by how.", ("kind", "outcome"))
_dependencies = ScrapedGauge(
    "acked_dependency_up", "1 while this process can use the server, 0 while it can't.", ("name",)
)
_build = ScrapedGauge("acked_build_info", "1; the label is the version of the running code.", ("version",))


_ENDS = (
    (State.SUCCEEDED, Reason.COMPLETED),
    (State.FAILED, Reason.ATTEMPTS_EXHAUSTED),
    (State.FAILED, Reason.PERMANENT_ERROR),
    (State.FAILED, Reason.POISON),
)
"""Series of workers that start at 0, so that Prometheus sees their first increase."""


def begin_kinds(kinds: Iterable[str]) -> None:
    """Expose the kinds of a worker before their first job ends."""
    for kind in kinds:
        for state, reason in _ENDS:
            _ended.begin((kind_label(kind), state.value, reason.value))


def count_ended(moves: Sequence[Move], kinds: Sequence[str], outcome: Sequence[Applied]) -> None:
    """Count the moves that ended a job. A resolve does not end a failed job a second time."""
    ended: dict[tuple[str, State, Reason], int] = {}
    for move, kind, applied in zip(moves, kinds, outcome, strict=True):
        transition = move.transition
        # Only a live job has a next check to clear.
        if applied is Applied.APPLIED and "next_check_at" in transition.clears:
            key = (kind, transition.to, transition.reason)
            ended[key] = ended.get(key, 0) + 1
    for (kind, state, reason), count in ended.items():
        _ended.add((kind_label(kind), state.value, reason.value), count)


def count_attempts(kind: str, outcome: str, amount: int = 1) -> None:
    """Count attempts of a kind with the same outcome."""
    _attempts.add((kind_label(kind), outcome), amount)


def watch_dependencies(usable: Mapping[str, Callable[[], bool | None]]) -> None:
    """Expose whether this process can use each server; None if no part has tried yet."""

    def read() -> Reading:
        found = {name: is_usable() for name, is_usable in usable.items()}
        return [((name,), float(up)) for name, up in found.items() if up is not None]

    _dependencies.read_from(read)


def _read_version() -> Reading:
    return [((version("acked-common"),), 1.0)]


_build.read_from(_read_version)
