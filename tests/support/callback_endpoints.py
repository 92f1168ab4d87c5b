"""Callback endpoints for tests."""

from datetime import UTC, datetime

from acked_common.model.callback_endpoints import Endpoint, EndpointOrder, define
from acked_common.model.callbacks import EVENTS

AT = datetime.now(UTC).replace(microsecond=0)
URL = "https://example.com/hook"


def endpoint(
    name: str = "billing",
    *,
    tenant: str = "acme",
    url: str = URL,
    events: tuple[str, ...] = EVENTS,
    kinds: tuple[str, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
) -> Endpoint:
    """Return a new endpoint."""
    return define(None, EndpointOrder(url, events, kinds, headers), tenant=tenant, name=name, now=AT)
