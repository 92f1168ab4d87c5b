"""Define, delete, enable and disable callback endpoints on behalf of people and programs.

Each act is a compare-and-set on the endpoint's `rev`, tried several times.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from acked_common.http.problems import ProblemError, problem
from acked_common.model import callback_endpoints
from acked_common.model.audit import AuditAction
from acked_common.model.callback_endpoints import (
    MOST_IN_ALL,
    MOST_OF_TENANT,
    READ_WITHIN_S,
    Disabled,
    Endpoint,
    written,
)
from acked_common.model.instants import whole_ms
from acked_common.model.names import ENDPOINT_NAME
from acked_common.model.principal import Operator
from acked_common.runtime.clock import Clock
from acked_common.store.callback_endpoints import EndpointAdded, EndpointStore
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.endpoint_body import EndpointWish

TRIES = 8
Earlier = TypeVar("Earlier", bound=Endpoint | None)


class EndpointActs:
    """The acts. Each raises `ProblemError` or `StoreError`."""

    def __init__(
        self, store: EndpointStore, audit: Audit, clock: Clock, *, applies_after_s: float = READ_WITHIN_S
    ) -> None:
        """Return from a change `applies_after_s` after its write, when every intake has read it."""
        self._store = store
        self._audit = audit
        self._clock = clock
        self._applies_after_s = applies_after_s

    async def define(self, name: str, wish: EndpointWish, *, operator: Operator) -> tuple[Endpoint, bool]:
        """Store an endpoint under this name, or replace its definition. Return it, and whether it is new."""
        _check_name(name)

        async def stored() -> Endpoint | None:
            return await self._store.get(name, tenant=operator.tenant)

        def defined(earlier: Endpoint | None) -> Endpoint:
            return self._defined(earlier, name, wish, operator)

        return await self._write(stored, defined, AuditAction.CALLBACK_ENDPOINT_PUT, name, operator)

    def _defined(self, earlier: Endpoint | None, name: str, wish: EndpointWish, operator: Operator) -> Endpoint:
        now = self._now()
        order = wish.order(None if earlier is None else earlier.order)
        wanted = callback_endpoints.define(earlier, order, tenant=operator.tenant, name=name, now=now)
        if wish.enabled is True:
            wanted = callback_endpoints.enable(wanted)
        elif wish.enabled is False:
            wanted = callback_endpoints.disable(wanted, Disabled(now, operator.actor.client))
        return wanted

    async def remove(self, name: str, *, operator: Operator) -> Endpoint:
        """Delete an endpoint and return it."""
        found = await self.existing(name, tenant=operator.tenant)
        await self._note(operator, AuditAction.CALLBACK_ENDPOINT_DELETE, name)
        await self._store.remove(name, tenant=operator.tenant)
        return found

    async def enable(self, name: str, *, operator: Operator) -> Endpoint:
        """Enable an endpoint."""
        return await self._change(
            name, callback_endpoints.enable, AuditAction.CALLBACK_ENDPOINT_ENABLE, operator=operator
        )

    async def disable(self, name: str, reason: str | None, *, operator: Operator) -> Endpoint:
        """Disable an endpoint."""

        def disabled(endpoint: Endpoint) -> Endpoint:
            return callback_endpoints.disable(endpoint, Disabled(self._now(), operator.actor.client, reason))

        return await self._change(
            name, disabled, AuditAction.CALLBACK_ENDPOINT_DISABLE, operator=operator, reason=reason
        )

    async def list(self, tenant: str) -> Sequence[Endpoint]:
        """Return the endpoints of the tenant, by name."""
        return await self._store.list(tenant)

    async def existing(self, name: str, *, tenant: str) -> Endpoint:
        """Return an endpoint of the tenant, or raise the 404."""
        found = await self._store.get(name, tenant=tenant) if ENDPOINT_NAME.fullmatch(name) else None
        if found is None:
            detail = f"no callback endpoint has the name {name[:64]!r}; GET /callback-endpoints lists them"
            raise ProblemError(problem("not-found", detail))
        return found

    async def _change(
        self,
        name: str,
        change: Callable[[Endpoint], Endpoint],
        action: AuditAction,
        *,
        operator: Operator,
        reason: str | None = None,
    ) -> Endpoint:
        async def stored() -> Endpoint:
            return await self.existing(name, tenant=operator.tenant)

        changed, _ = await self._write(stored, change, action, name, operator, reason)
        return changed

    async def _write(
        self,
        read: Callable[[], Awaitable[Earlier]],
        change: Callable[[Earlier], Endpoint],
        action: AuditAction,
        name: str,
        operator: Operator,
        reason: str | None = None,
    ) -> tuple[Endpoint, bool]:
        """Read an endpoint and store what `change` makes of it, noted once. Return that, and whether it is new."""
        is_noted = False
        for _ in range(TRIES):
            earlier = await read()
            wanted = change(earlier)
            if earlier is not None and wanted == earlier:
                return earlier, False
            if not is_noted:
                await self._note(operator, action, name, reason=reason)
                is_noted = True
            wanted = written(earlier, wanted, self._now())
            if earlier is None:
                done = _is_added(await self._store.add(wanted))
            else:
                done = await self._store.replace(wanted, earlier)
            if done:
                return await self._applied(wanted), earlier is None
        raise _overtaken(name)

    def _now(self) -> datetime:
        return whole_ms(self._clock.now())

    async def _note(self, operator: Operator, action: AuditAction, name: str, *, reason: str | None = None) -> None:
        await self._audit.note(operator, action, {"endpoint": name}, reason=reason)

    async def _applied(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint once all intakes mark new jobs by it; at once if they have none to mark."""
        if endpoint.stopped is None:
            await asyncio.sleep(self._applies_after_s)
        return endpoint


def _check_name(name: str) -> None:
    if ENDPOINT_NAME.fullmatch(name) is None:
        detail = "a name is 1 to 55 of the characters a-z, 0-9, '_' and '-', and starts with a letter or digit"
        raise ProblemError(problem("invalid-field", detail, errors=[{"pointer": "", "detail": detail}]))


def _is_added(outcome: EndpointAdded) -> bool:
    if outcome is EndpointAdded.TENANT_FULL:
        detail = f"the tenant has {MOST_OF_TENANT} callback endpoints, which is the maximum; delete some"
        raise ProblemError(problem("too-many-callback-endpoints", detail))
    if outcome is EndpointAdded.ALL_FULL:
        detail = f"all tenants together have {MOST_IN_ALL:,} callback endpoints, which is the maximum; delete some"
        raise ProblemError(problem("too-many-callback-endpoints", detail))
    return outcome is EndpointAdded.ADDED


def _overtaken(name: str) -> ProblemError:
    detail = f"concurrent changes of endpoint {name!r} prevented each attempt; retry the request"
    return ProblemError(problem("busy", detail))
