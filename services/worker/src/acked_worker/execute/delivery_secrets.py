"""Give attempts of deliveries the secrets of their tenant and the definition of their endpoint, which only the worker's
own loop can read.

Neither is stored with a delivery: each attempt signs with the secrets that are valid then, and goes where its endpoint
leads then.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from acked_common.model.callbacks import CALLBACK_KIND
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.callback_endpoints import EndpointReader
from acked_common.store.callbacks import CallbackSecretReader
from acked_common.store.errors import StoreError
from acked_worker.execute.attempt import Assignment

log = get_log(__name__)

READ_FOR_S = 5.0
"""How long secrets are used without being read again; an earlier secret signs for a day beside a new one."""
MOST_TENANTS = 1000


class DeliverySecrets:
    """Adds secrets and definitions to the payloads of deliveries. On the plumbing loop."""

    def __init__(self, reader: CallbackSecretReader, endpoints: EndpointReader, clock: Clock) -> None:
        self._reader = reader
        self._endpoints = endpoints
        self._clock = clock
        self._tasks = Tasks()
        self._read: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()
        self._waiting: dict[tuple[str, int], Assignment] = {}

    def submit(self, assignments: Sequence[Assignment], run: Callable[[Sequence[Assignment]], None]) -> None:
        """Pass assignments to `run`: deliveries once their secrets are read, all others at once."""
        deliveries = [one for one in assignments if one.kind == CALLBACK_KIND]
        if len(deliveries) < len(assignments):
            run([one for one in assignments if one.kind != CALLBACK_KIND])
        for delivery in deliveries:
            self._waiting[delivery.id, delivery.attempt] = delivery
            self._tasks.spawn(self._run_with_secrets(delivery, run), "secrets of a delivery")

    async def close(self) -> list[Assignment]:
        """Return the deliveries that wait for their secrets; none of them will run."""
        await self._tasks.cancel_all()
        left = list(self._waiting.values())
        self._waiting.clear()
        return left

    async def _run_with_secrets(self, delivery: Assignment, run: Callable[[Sequence[Assignment]], None]) -> None:
        payload = delivery.payload if isinstance(delivery.payload, dict) else {}
        tenant, secrets, endpoint = str(payload.get("tenant", "")), [], {}
        try:
            if payload.get("endpoint"):
                endpoint = await self._endpoint(str(payload["endpoint"]), tenant)
            secrets = await self._secrets(tenant)
        except (TimeoutError, StoreError) as error:
            # The attempt fails with a message that says so, and is retried.
            log.warning("the secrets of a delivery could not be read", job=delivery.id, error=str(error))
        del self._waiting[delivery.id, delivery.attempt]
        run([replace(delivery, payload={**payload, **endpoint, "secrets": secrets})])

    async def _endpoint(self, name: str, tenant: str) -> dict[str, Any]:
        """Return the members that send a delivery to its endpoint, or end it. A read for each attempt, so that none
        follows an act of a client."""
        found = await self._endpoints.get(name, tenant=tenant)
        if found is None:
            return {"stopped": f"the endpoint {name} was deleted"}
        sent = {"url": found.order.url, "headers": dict(found.order.headers), "endpoint_rev": found.rev}
        return sent if found.stopped is None else {**sent, "stopped": found.stopped}

    async def _secrets(self, tenant: str) -> list[str]:
        now = self._clock.monotonic()
        known = self._read.get(tenant)
        if known is not None and now - known[0] < READ_FOR_S:
            return known[1]
        found = [one.secret for one in await self._reader.secrets(tenant, self._clock.now())]
        if found:
            self._read[tenant] = (now, found)
            self._read.move_to_end(tenant)
            if len(self._read) > MOST_TENANTS:
                self._read.popitem(last=False)
        return found
