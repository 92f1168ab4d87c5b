"""Limit the running jobs of kinds for operators, count those that run already, and expose limits.

A limit is a field of the kind's document. Workers read every second which kinds have one, and read the limit itself
with each claim. Jobs that began before have no place; a gateway gives them one, so that they count (`limits.adopting`).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from acked_common.background.limit_looks import LimitLooks
from acked_common.background.pause_cache import PauseCache
from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.audit import AuditAction
from acked_common.model.limits import MOST_RUNNING, KindLimit, TakenPlaces, adopting
from acked_common.model.pauses import MAX_REASON_CHARS, KindPauses
from acked_common.model.principal import Operator, Principal
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.metrics import Reading, ScrapedGauge, kind_label
from acked_common.store.limits import LimitStore
from acked_common.store.records import KindRecord
from acked_gateway.audit.notes import Audit
from acked_gateway.kinds.pausing import Pausing

MAX_BODY_BYTES = 16 * 1024
TURN = "limits"
LOOK_EVERY_S = 1.0
OFTEN_FOR_S = 30.0
"""How long after a change of a limit every look searches for running jobs without a place. A worker may learn late."""
RARELY_EVERY_S = 10.0
MOST_EXPOSED = 100
"""The maximum of limited kinds whose use is counted for metrics."""

_limits = ScrapedGauge(
    "acked_kind_limit", "Jobs of the kind that may run at once: of all tenants, or of each.", ("kind", "of")
)
_held = ScrapedGauge("acked_kind_held_jobs", "Queued jobs that wait for a place of the kind's limit.", ("kind",))


class LimitOrder(Struct, frozen=True):
    """The limit that a request sets."""

    running: int | None
    per_tenant: int | None
    reason: str | None


_NUMBERS = LimitOrder.__struct_fields__[:2]


class Limiting:
    """The commands. Each returns the kind and its limit afterwards, and raises `ProblemError` or `StoreError`."""

    def __init__(
        self,
        store: LimitStore,
        pausing: Pausing,
        pauses: PauseCache,
        looks: LimitLooks,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._store = store
        self._pausing = pausing
        self._pauses = pauses
        self._looks = looks
        self._audit = audit
        self._clock = clock
        self._searched_at = float("-inf")
        self._counts: dict[str, int] = {}
        """Held jobs, by the label of their kind."""
        _limits.read_from(self._read_limits)
        _held.read_from(self._read_held)

    def start(self, tasks: Tasks) -> None:
        """Search for running jobs without a place, and count held ones, in the background."""
        tasks.repeat("limits", self.look, every_s=LOOK_EVERY_S)

    async def limit(
        self, name: str, order: LimitOrder, *, operator: Operator, reader: Principal
    ) -> tuple[KindRecord, KindPauses]:
        """Set or replace the limit of a kind."""
        actor = operator.actor
        now = self._clock.now()
        limit = KindLimit(order.running, order.per_tenant, actor.client, actor.token_id, order.reason, now)
        return await self._replace(name, limit, AuditAction.LIMIT, operator, reader)

    async def unlimit(self, name: str, *, operator: Operator, reader: Principal) -> tuple[KindRecord, KindPauses]:
        """Remove the limit of a kind. Without one, nothing changes."""
        actor = operator.actor
        removed = KindLimit(None, None, actor.client, actor.token_id, None, self._clock.now())
        return await self._replace(name, removed, AuditAction.UNLIMIT, operator, reader)

    async def _replace(
        self, name: str, limit: KindLimit, action: AuditAction, operator: Operator, reader: Principal
    ) -> tuple[KindRecord, KindPauses]:
        kind = await self._pausing.known(name, reader)
        # As it is now, because the audit records it.
        await self._pauses.refresh()
        before = self._pauses.of(name).limit
        target = {"kind": name, "before": _numbers(before), "after": _numbers(limit)}
        await self._audit.note(operator, action, target, reason=limit.reason)
        if not limit.is_set and (before is None or not before.is_set):
            # A kind that never had a limit costs nothing, and this leaves it so.
            return kind, self._pauses.of(name)
        if limit.is_set:
            # Before the limit, so that no claim sees places of these jobs as free.
            await self._adopt({name: limit})
        found = await self._pausing.after(name, await self._store.limit_kind(name, limit), reader)
        return kind, found

    async def look(self) -> None:
        """Search for running jobs without a place, and count held ones. Raises `StoreError`."""
        limits = self._pauses.limits
        counts: dict[str, int] = {}
        for kind in sorted(limits)[:MOST_EXPOSED]:
            if (use := await self._looks.use(kind)) is not None:
                counts[kind_label(kind)] = counts.get(kind_label(kind), 0) + use.held
        self._counts = counts
        if not limits:
            return
        now, now_s = self._clock.now(), self._clock.monotonic()
        # The clocks of two gateways may differ; that only changes how often this searches.
        is_new = any((now - limit.since_at).total_seconds() < OFTEN_FOR_S for limit in limits.values())
        if not is_new and now_s - self._searched_at < RARELY_EVERY_S:
            return
        self._searched_at = now_s
        if await self._store.take_turn(TURN, for_s=LOOK_EVERY_S / 2):
            await self._adopt(limits)

    async def _adopt(self, limits: Mapping[str, KindLimit]) -> None:
        """Give places to jobs of these kinds that run without one, so that they count."""
        running = await self._store.unplaced_jobs(limits.keys())
        if not running:
            return
        places = await self._store.read_places(limits.keys())
        for kind, limit in limits.items():
            taken = places.taken.get(kind, TakenPlaces())
            await self._store.adopt_jobs(adopting(limit, taken, [job for job in running if job.kind == kind]))

    def _read_limits(self) -> Reading:
        # Kinds beyond the bound share a label, so add up their limits.
        found: dict[tuple[str, str], float] = {}
        for kind, limit in self._pauses.limits.items():
            for of, number in (("kind", limit.running), ("tenant", limit.per_tenant)):
                if number is not None:
                    key = (kind_label(kind), of)
                    found[key] = found.get(key, 0.0) + number
        return list(found.items())

    def _read_held(self) -> Reading:
        return [((label,), float(count)) for label, count in self._counts.items()]


def _numbers(limit: KindLimit | None) -> dict[str, int] | None:
    """Return the numbers of a limit as the audit records them; None without a limit."""
    if limit is None or not limit.is_set:
        return None
    return {name: number for name in _NUMBERS if (number := getattr(limit, name)) is not None}


def parse_limit(body: bytes) -> LimitOrder:
    """Parse `{"running"?, "per_tenant"?, "reason"?}`. Raises `ProblemError`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid("", 'must be an object such as {"running": 20, "per_tenant": 5}')
    for name in members:
        if name not in LimitOrder.__struct_fields__:
            raise _invalid(f"/{name}", "is not a known field; the fields are running, per_tenant and reason")
    reason = members.get("reason")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= MAX_REASON_CHARS):
        raise _invalid("/reason", f"must be a text of at most {MAX_REASON_CHARS} characters")
    running, per_tenant = (_number(members, name) for name in _NUMBERS)
    if running is None and per_tenant is None:
        raise _invalid("", "must have running, per_tenant or both; POST /kinds/{kind}/unlimit removes a limit")
    if running is not None and per_tenant is not None and per_tenant > running:
        raise _invalid("/per_tenant", f"must not exceed running, which is {running:,}: it would limit nothing")
    return LimitOrder(running, per_tenant, reason or None)


def _number(members: dict[str, Any], name: str) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_RUNNING:
        stop = "; to let none start, pause the kind" if value == 0 else ""
        raise _invalid(f"/{name}", f"must be a whole number from 1 to {MOST_RUNNING:,}{stop}")
    return value


def _invalid(pointer: str, detail: str) -> ProblemError:
    errors: list[ErrorAt] = [{"pointer": pointer, "detail": detail}]
    return ProblemError(problem("invalid-field", "the body can't be used; see errors", errors=errors))
