"""OWNER of the filters by which a client selects jobs: the meaning of each text, and valid combinations. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.attempts import GROUP_NAME
from acked_common.model.instants import instant_from
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import NO_SIGNAL
from acked_common.model.names import SIGNAL_NAME
from acked_common.store.records import JobFilter

T = TypeVar("T")

OF_QUERIES = "?"
"""The prefix of a parameter in a problem's pointer."""
STATE, KIND, BATCH, TAG = "state", "kind", "batch", "tag"
ERROR_GROUP, SINCE, UNTIL, WORKER = "error.group", "since", "until", "worker"
WAITING_FOR = "waiting_for"
FILTERS = (STATE, KIND, BATCH, TAG, ERROR_GROUP, SINCE, UNTIL, WORKER, WAITING_FOR)

SLEEP, OF_SIGNALS = "sleep", "signal:"
"""The values of `waiting_for`: the jobs that no signal wakes; the prefix of a name."""
WAITING_FOR_PATTERN = f"^(?:{SLEEP}|{OF_SIGNALS}{SIGNAL_NAME.pattern})$"
_EXAMPLES = "an instant such as 2026-11-24T10:00:00Z, or a duration back from now such as 15m, 24h or 8d"

_OF_ONE_STATE: Mapping[str, tuple[State, str]] = {
    ERROR_GROUP: (State.FAILED, "only failed jobs have one"),
    WORKER: (State.RUNNING, "a worker has the jobs that it runs now"),
    WAITING_FOR: (State.WAITING, "only parked jobs wait"),
}
"""Filters that only jobs in one state match."""


def read_filter(values: Mapping[str, str], *, tenant: str, now: datetime, at: str = OF_QUERIES) -> JobFilter:
    """Return the filter of `values`; empty texts are ignored. `at` is the prefix of each name in pointers.

    Raises `ProblemError` with all faults.
    """
    errors: list[ErrorAt] = []

    def read(name: str, meaning: Callable[[str], T]) -> T | None:
        text = values.get(name)
        try:
            return meaning(text) if text else None
        except ValueError as error:
            errors.append({"pointer": f"{at}{name}", "detail": str(error)})
            return None

    waiting_for = read(WAITING_FOR, awaited_name)
    state, group = read(STATE, _state), read(ERROR_GROUP, _group)
    since_at, until_at = read(SINCE, lambda text: _instant(text, now)), read(UNTIL, lambda text: _instant(text, now))
    for name, (only, why) in _OF_ONE_STATE.items():
        if not values.get(name):
            continue
        if state not in (None, only):
            errors.append({"pointer": f"{at}{STATE}", "detail": f"must be {only} or left out beside {name}: {why}"})
        state = only
    if since_at is not None and until_at is not None and since_at >= until_at:
        errors.append({"pointer": f"{at}{UNTIL}", "detail": f"must be later than {SINCE}"})
    if errors:
        detail = f"{errors[0]['pointer'].removeprefix(at)} {errors[0]['detail']}"
        raise ProblemError(problem("invalid-field", detail, errors=errors))
    return JobFilter(
        state=state,
        kind=values.get(KIND) or None,
        batch=values.get(BATCH) or None,
        tag=values.get(TAG) or None,
        tenant=tenant,
        error_group=group,
        since_at=since_at,
        until_at=until_at,
        worker=values.get(WORKER) or None,
        waiting_for=waiting_for,
    )


def is_relative(text: str | None) -> bool:
    """Return whether a text means a different instant in each request."""
    return text is not None and text[-1:].islower() and not text.endswith("z")


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(state.value for state in State)}") from None


def _group(text: str) -> str:
    if GROUP_NAME.fullmatch(text) is None:
        raise ValueError("must be the group of an error, as a failed job or GET /attention shows it")
    return text


def awaited_name(text: str) -> str:
    """Return the name of the signal, or `NO_SIGNAL`. Raise `ValueError` with what is expected."""
    if text == SLEEP:
        return NO_SIGNAL
    if not text.startswith(OF_SIGNALS) or SIGNAL_NAME.fullmatch(text.removeprefix(OF_SIGNALS)) is None:
        raise ValueError(f"must be {SLEEP}, or {OF_SIGNALS} and the name of a signal, such as {OF_SIGNALS}paid")
    return text.removeprefix(OF_SIGNALS)


def _instant(text: str, now: datetime) -> datetime:
    try:
        if not text.isascii():
            raise ValueError(text)
        # In a query, an unescaped plus is a space.
        return instant_from(text.replace(" ", "+"), now)
    except ValueError:
        raise ValueError(f"must be {_EXAMPLES}, not {text[:40]!r}") from None
