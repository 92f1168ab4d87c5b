"""Deliveries of callbacks, the secrets that sign them, and endpoints, as the services describe them. Pure."""

from datetime import datetime
from typing import Any

from msgspec import Struct


class DeliveryResponse(Struct, frozen=True, kw_only=True):
    """What the receiver returned: some of the headers, and the first 4 KiB of the body."""

    status: int
    headers: dict[str, str]
    body: str
    is_cut: bool


class DeliveryAttempt(Struct, frozen=True, kw_only=True):
    """One request to the receiver.

    `webhook_timestamp` is the header, in seconds since 1970; None if nothing was sent. `error` is None of a success.
    """

    run: int
    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime | None
    webhook_timestamp: int | None
    duration_s: float | None
    response: DeliveryResponse | None
    error: str | None


class Delivery(Struct, frozen=True, kw_only=True):
    """One event, sent until the receiver has it or the attempts are used up.

    `id` and `state` are those of the job that sends it; `job` and `run` are the job that ended and its run. `resend` is
    0 for the first delivery of the event. All deliveries of an event have the same `webhook_id`. `endpoint` is the
    callback endpoint that gets it; None for the callback of the request.
    """

    id: str
    job: str
    state: str
    event: str
    run: int
    resend: int
    webhook_id: str
    endpoint: str | None
    url: str
    body: Any
    accepted_at: datetime
    finished_at: datetime | None
    next_attempt_at: datetime | None
    attempts: list[DeliveryAttempt]


class Resent(Struct, frozen=True, kw_only=True):
    """An event that will be sent again. `id` is that of the new delivery, which is listed within a moment."""

    id: str
    webhook_id: str
    resend: int


class CallbackSecret(Struct, frozen=True, kw_only=True):
    """A secret that signs callbacks, without its value. `ends_at` is None for the newest one."""

    id: str
    made_at: datetime
    ends_at: datetime | None


class MadeCallbackSecret(CallbackSecret, frozen=True, kw_only=True):
    """A new secret with its value, which no later call shows again. Its `repr` leaves the value out."""

    secret: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class EndpointDisabled(Struct, frozen=True, kw_only=True):
    """Who disabled an endpoint, why and when. `by` is `acked` for Acked itself."""

    at: datetime
    by: str
    reason: str | None


class CallbackEndpoint(Struct, frozen=True, kw_only=True):
    """A callback endpoint of the tenant. No `kinds` means all kinds.

    `state` is `enabled`, `failing`, `disabled` by Acked, or `off`, which a client has disabled. No call shows the
    values of its headers.
    """

    name: str
    url: str
    events: list[str]
    kinds: list[str]
    header_names: list[str]
    enabled: bool
    state: str
    disabled: EndpointDisabled | None
    failing_since: datetime | None
    last_error: str | None
    revision: int
    made_at: datetime
    changed_at: datetime
