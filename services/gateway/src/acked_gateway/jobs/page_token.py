"""Page tokens of the list of jobs, which fix the instant of a relative `since` on the first page. Pure.

Otherwise the list would lose its oldest jobs while a client pages through it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from acked_common.api import list_parameters
from acked_common.model.numbers import whole
from acked_common.store.records import JobFilter
from acked_gateway.jobs import filters

PARAMETER = "page_token"
_BEFORE_SINCE = "."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def token_of(before: UUID, values: Mapping[str, str], job_filter: JobFilter) -> str:
    """Return the token of the page after `before`; `values` are the filters as the client sent them."""
    token = list_parameters.page_token(before, _given(values, job_filter.tenant))
    if job_filter.since_at is not None and filters.is_relative(values.get(filters.SINCE)):
        token += f"{_BEFORE_SINCE}{(job_filter.since_at - _EPOCH) // _MILLISECOND}"
    return token


def read_token(token: str | None, values: Mapping[str, str], job_filter: JobFilter) -> tuple[UUID | None, JobFilter]:
    """Return the position in a token, and the filter with the instants of the first page. Raises `ProblemError`."""
    position, _, since = (token or "").partition(_BEFORE_SINCE)
    before = list_parameters.position(position, _given(values, job_filter.tenant))
    if since:
        try:
            job_filter = replace(job_filter, since_at=_EPOCH + whole(since) * _MILLISECOND)
        except (ValueError, OverflowError):
            detail = "must be the next_page_token of an earlier response"
            raise list_parameters.bad_parameter(PARAMETER, detail) from None
    return before, job_filter


def _given(values: Mapping[str, str], tenant: str) -> dict[str, str | None]:
    # Keep this order, so that tokens of gateways with only the first five filters stay valid.
    names = (filters.STATE, filters.KIND, filters.BATCH, filters.TAG)
    given = {name: values.get(name) or None for name in names}
    return {**given, "tenant": tenant, **{name: values.get(name) or None for name in filters.FILTERS[len(names) :]}}
