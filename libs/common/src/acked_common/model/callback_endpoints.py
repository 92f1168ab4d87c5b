"""OWNER of callback endpoints: their records, bounds, and the rules by which they match, fail and are disabled. Pure.

A tenant defines endpoints in addition to the callbacks of requests. When intake accepts a job, it decides which
endpoints the job has, and stores their names with it, so a job without any costs nothing. Which of these get an
event, and where it is sent, follows from their definitions when the job ends.

`rev` counts definitions. Workers write how deliveries go beside it, and only to the definition that they have used.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.callbacks import CALLBACK_KIND, EVENTS

MOST_OF_TENANT = 20
"""Endpoints of one tenant; as many requests as are in flight may exceed it."""
MOST_IN_ALL = 1000
"""Endpoints of all tenants, since each intake holds their names and kinds in memory."""
MAX_KINDS = 50
MAX_HEADERS = 10
MAX_HEADER_NAME = 64
MAX_HEADER_VALUE = 1024
TAG_PREFIX = "endpoint:"
"""The deliveries of an endpoint have a tag of this and its name."""
READ_WITHIN_S = 2.0
"""How old an intake's list of endpoints may be when it accepts a job, and so how long a change takes to apply."""
FAILS_FOR = timedelta(days=5)
"""An endpoint whose deliveries have only failed for so long is disabled."""
FAILING_AFTER = timedelta(hours=1)
"""An endpoint whose deliveries have only failed for so long is shown as failing."""
GONE_REASON = "the receiver returned 410: it accepts no more events"
ACKED = "acked"
"""The client that the audit names for acts of Acked itself."""


class EndpointOrder(Struct, frozen=True):
    """The definition by a client. No `kinds` means all kinds."""

    url: str
    events: tuple[str, ...] = EVENTS
    kinds: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values. The values may be credentials, so no route and no log shows them."""

    def __repr__(self) -> str:
        """Leave the headers out, since records may be logged."""
        return f"EndpointOrder(url={self.url!r}, events={self.events!r}, kinds={self.kinds!r})"


class Disabled(Struct, frozen=True):
    """Since when an endpoint is disabled, by which client, and why."""

    at: datetime
    by: str
    reason: str | None = None


class Endpoint(Struct, frozen=True):
    """An endpoint of a tenant."""

    tenant: str
    name: str
    order: EndpointOrder
    rev: int
    made_at: datetime
    changed_at: datetime
    disabled: Disabled | None = None
    failing_since: datetime | None = None
    """The end of the first attempt that failed since the last success."""
    gone_at: datetime | None = None
    """When the receiver returned a 410, after which nothing is sent."""
    last_error: str | None = None

    @property
    def stopped(self) -> str | None:
        """Why nothing is sent; None while deliveries are sent."""
        if self.disabled is not None:
            return f"the endpoint {self.name} is disabled"
        return GONE_REASON if self.gone_at is not None else None

    def wants(self, kind: str, event: str) -> bool:
        """Return whether an event of a job of this kind is sent."""
        return self.stopped is None and event in self.order.events and takes_kind(self.order.kinds, kind)


class EndpointMatch(Struct, frozen=True):
    """What intake has to know of an enabled endpoint."""

    tenant: str
    name: str
    kinds: tuple[str, ...] = ()


class EndpointOutcomes(Struct, frozen=True):
    """The outcome of several attempts in a row for one definition of an endpoint."""

    tenant: str
    name: str
    rev: int
    succeeded: bool = False
    """Whether one of the attempts succeeded; the other fields concern those after the last success."""
    failed_at: datetime | None = None
    gone_at: datetime | None = None
    error: str | None = None

    def followed_by(self, later: "EndpointOutcomes") -> "EndpointOutcomes":
        """Return this with later attempts of the same definition."""
        if later.succeeded:
            return later
        failed_at, gone_at = self.failed_at or later.failed_at, later.gone_at or self.gone_at
        return replace(self, failed_at=failed_at, gone_at=gone_at, error=later.error or self.error)


def takes_kind(kinds: tuple[str, ...], kind: str) -> bool:
    """Return whether endpoints with these kinds have jobs of a kind. Deliveries themselves have no endpoints."""
    return kind != CALLBACK_KIND and (not kinds or kind in kinds)


def names_of(matches: Iterable[EndpointMatch], kind: str) -> tuple[str, ...]:
    """Return the names of the endpoints that a job of this kind has, sorted."""
    return tuple(sorted(one.name for one in matches if takes_kind(one.kinds, kind)))


def define(earlier: Endpoint | None, order: EndpointOrder, *, tenant: str, name: str, now: datetime) -> Endpoint:
    """Return the endpoint with this definition. What is known of an earlier URL does not concern a new one, but a
    disabled endpoint stays disabled."""
    if earlier is None:
        return Endpoint(tenant, name, order, 1, now, now)
    if earlier.order == order:
        return earlier
    changed = replace(earlier, order=order)
    return changed if earlier.order.url == order.url else _without_failures(changed)


def enable(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint enabled, as if its deliveries had not failed; unchanged if it is enabled."""
    if endpoint.stopped is None:
        return endpoint
    return _without_failures(replace(endpoint, disabled=None))


def disable(endpoint: Endpoint, disabled: Disabled) -> Endpoint:
    """Return the endpoint disabled; unchanged if it is disabled already."""
    return endpoint if endpoint.disabled is not None else replace(endpoint, disabled=disabled)


def written(earlier: Endpoint | None, endpoint: Endpoint, now: datetime) -> Endpoint:
    """Return the endpoint as the next definition after `earlier`."""
    if earlier is None:
        return endpoint
    return replace(endpoint, rev=earlier.rev + 1, changed_at=now)


def keeps_notes(earlier: Endpoint, endpoint: Endpoint) -> bool:
    """Return whether what workers have noted of `earlier` concerns `endpoint` too: the same URL, not enabled anew."""
    return endpoint.order.url == earlier.order.url and (earlier.stopped is None or endpoint.stopped is not None)


def why_disabled(endpoint: Endpoint, now: datetime) -> str | None:
    """Return why Acked has to disable an endpoint now; None if it has not."""
    if endpoint.disabled is not None:
        return None
    if endpoint.gone_at is not None:
        return GONE_REASON
    if endpoint.failing_since is None or now - endpoint.failing_since < FAILS_FOR:
        return None
    return f"its deliveries have only failed for {FAILS_FOR.days} days; the last error: {endpoint.last_error}"


def state_of(endpoint: Endpoint, now: datetime) -> str:
    """Return the state by which endpoints are counted: `enabled`, `failing`, `disabled` by Acked, or `off`, which a
    client has disabled."""
    if endpoint.disabled is not None:
        return "disabled" if endpoint.disabled.by == ACKED else "off"
    if endpoint.gone_at is not None:
        return "disabled"
    is_failing = endpoint.failing_since is not None and now - endpoint.failing_since >= FAILING_AFTER
    return "failing" if is_failing else "enabled"


STATES = ("enabled", "failing", "disabled", "off")


def tag_of(name: str) -> str:
    """Return the tag of the deliveries of an endpoint."""
    return f"{TAG_PREFIX}{name}"


def _without_failures(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, failing_since=None, gone_at=None, last_error=None)
