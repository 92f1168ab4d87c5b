"""Disable endpoints that return a 410 or have failed for five days, and count the endpoints by state.

Workers record the outcomes of deliveries. One gateway at a time disables endpoints, since its account writes
the audit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from acked_common.model import callback_endpoints
from acked_common.model.audit import AuditAction
from acked_common.model.callback_endpoints import ACKED, STATES, Disabled, Endpoint, state_of, why_disabled, written
from acked_common.model.instants import whole_ms
from acked_common.model.principal import Actor, Operator
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.runtime.metrics import ScrapedGauge
from acked_common.store.callback_endpoints import EndpointStore
from acked_common.store.callbacks import CallbackStore
from acked_gateway.audit.notes import Audit

log = get_log(__name__)

KEEPING = "callback endpoints"
EVERY_S = 2.0
TURN_S = 10.0

_endpoints = ScrapedGauge(
    "acked_callback_endpoints",
    "Callback endpoints of all tenants: enabled, failing, disabled by Acked, off.",
    ("state",),
)


class EndpointDisabler:
    """Disables endpoints of all tenants that only fail."""

    def __init__(self, store: EndpointStore, turns: CallbackStore, audit: Audit, clock: Clock, *, holder: str) -> None:
        """`holder` names this process in the lock."""
        self._store = store
        self._turns = turns
        self._audit = audit
        self._clock = clock
        self._holder = holder
        self._newest: Sequence[Endpoint] | None = None
        _endpoints.read_from(self._counts)

    def start(self, tasks: Tasks) -> None:
        """Start to look."""
        tasks.repeat("callback endpoints", self.look, every_s=EVERY_S)

    async def look(self) -> None:
        """Disable endpoints that have to be. Raise `StoreError`."""
        self._newest = await self._store.all()
        now = self._clock.now()
        due = [(one, reason) for one in self._newest if (reason := why_disabled(one, now)) is not None]
        if not due or not await self._turns.take_turn(KEEPING, for_s=TURN_S, holder=self._holder):
            return
        for endpoint, reason in due:
            await self._disable(endpoint, reason)
        self._newest = await self._store.all()

    async def _disable(self, endpoint: Endpoint, reason: str) -> None:
        # The definition may be another one since it was read.
        found = await self._store.get(endpoint.name, tenant=endpoint.tenant)
        now = whole_ms(self._clock.now())
        if found is None or found.rev != endpoint.rev or why_disabled(found, now) is None:
            return
        operator = Operator(endpoint.tenant, Actor(ACKED, via=ACKED))
        target = {"endpoint": endpoint.name}
        await self._audit.note(operator, AuditAction.CALLBACK_ENDPOINT_DISABLE, target, reason=reason)
        disabled = callback_endpoints.disable(found, Disabled(now, ACKED, reason))
        if await self._store.replace(written(found, disabled, now), found):
            log.warning("callback endpoint disabled", tenant=endpoint.tenant, endpoint=endpoint.name, reason=reason)

    def _counts(self) -> Iterator[tuple[tuple[str, ...], float]]:
        if self._newest is None:
            return
        now = self._clock.now()
        counts = Counter(state_of(one, now) for one in self._newest)
        yield from (((state,), counts[state]) for state in STATES)
