"""OWNER of the filters by which a client selects jobs, as texts: what each means, and which fit together. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.attempts import GROUP_NAME
from acked_common.model.instants import instant_from
from acked_common.model.lifecycle import State
from acked_common.store.records import JobFilter

T = TypeVar("T")

OF_QUERIES = "?"
"""What stands ahead of the name of a parameter in a problem's pointer."""
STATE, KIND, BATCH, TAG = "state", "kind", "batch", "tag"
ERROR_GROUP, SINCE, UNTIL = "error.group", "since", "until"
FILTERS = (STATE, KIND, BATCH, TAG, ERROR_GROUP, SINCE, UNTIL)

_EXAMPLES = "an instant such as 2026-11-24T10:00:00Z, or a duration back from now such as 15m, 24h or 8d"


def read_filter(values: Mapping[str, str], *, tenant: str, now: datetime, at: str = OF_QUERIES) -> JobFilter:
    """Return the filter that `values` name, empty texts aside. `at` stands ahead of each name in pointers.

    Raises `ProblemError` with all that is wrong.
    """
    errors: list[ErrorAt] = []

    def read(name: str, meaning: Callable[[str], T]) -> T | None:
        text = values.get(name)
        try:
            return meaning(text) if text else None
        except ValueError as error:
            errors.append({"pointer": f"{at}{name}", "detail": str(error)})
            return None

    state, group = read(STATE, _state), read(ERROR_GROUP, _group)
    since_at, until_at = read(SINCE, lambda text: _instant(text, now)), read(UNTIL, lambda text: _instant(text, now))
    if group is not None:
        if state not in (None, State.FAILED):
            detail = f"must be {State.FAILED} or left out beside {ERROR_GROUP}: only failed jobs have one"
            errors.append({"pointer": f"{at}{STATE}", "detail": detail})
        state = State.FAILED
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
    )


def is_relative(text: str | None) -> bool:
    """Return whether a text means another instant with each request."""
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


def _instant(text: str, now: datetime) -> datetime:
    try:
        if not text.isascii():
            raise ValueError(text)
        # In a query a plus is a space, unless it was escaped.
        return instant_from(text.replace(" ", "+"), now)
    except ValueError:
        raise ValueError(f"must be {_EXAMPLES}, not {text[:40]!r}") from None
