"""Define, delete, pause, resume and run schedules on behalf of people and programs.

Each act is a compare-and-set on the schedule's `rev`. An intake that fires at the same moment wins now and then, so an
act is tried several times.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from acked_common.api.authenticator import check_permission
from acked_common.background.kind_cache import KindCache, unknown_kind
from acked_common.background.payload_check import PayloadCheck
from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model import schedule_backfills, schedule_rules
from acked_common.model.audit import AuditAction
from acked_common.model.cron import BadCron
from acked_common.model.instants import rfc3339
from acked_common.model.names import SCHEDULE_NAME
from acked_common.model.pauses import Pause
from acked_common.model.principal import Operator, Permission, Principal
from acked_common.model.schedules import MOST_IN_ALL, MOST_OF_TENANT, Backfill, Firing, Schedule, Work
from acked_common.runtime.clock import Clock
from acked_common.store.schedules import ScheduleAdded, ScheduleStore
from acked_gateway.audit.notes import Audit
from acked_gateway.schedules.backfills import BackfillWish
from acked_gateway.schedules.body import ScheduleWish

TRIES = 8


class ScheduleActs:
    """The acts. Each raises `ProblemError` or `StoreError`."""

    def __init__(
        self, store: ScheduleStore, kinds: KindCache, payloads: PayloadCheck, audit: Audit, clock: Clock
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._payloads = payloads
        self._audit = audit
        self._clock = clock

    async def define(
        self, name: str, wish: ScheduleWish, *, operator: Operator, reader: Principal
    ) -> tuple[Schedule, bool]:
        """Store a schedule under this name, or replace its order. Return it, and whether it is new."""
        _check_name(name)
        await self._check_work(wish.order.work, reader)
        is_noted = False
        for _ in range(TRIES):
            earlier = await self._store.get(name, tenant=operator.tenant)
            now = self._clock.now()
            wanted = schedule_rules.define(earlier, wish.order, tenant=operator.tenant, name=name, now=now)
            wanted = self._paused_as_asked(wanted, wish.paused, operator)
            if earlier is not None and wanted == earlier:
                return earlier, False
            if earlier is not None:
                # To send an unchanged definition again, with each deployment, needs no more than to send it first.
                check_permission(reader, Permission.OPERATE)
            if not is_noted:
                target = {"schedule": name, "kind_of_jobs": wish.order.work.kind}
                await self._audit.note(operator, AuditAction.SCHEDULE_PUT, target)
                is_noted = True
            wanted = schedule_rules.written(wanted, now)
            if earlier is None:
                if _is_added(await self._store.add(wanted)):
                    return wanted, True
            elif await self._store.replace(wanted):
                return wanted, False
        raise _overtaken(name)

    async def drafted(self, name: str, wish: ScheduleWish, *, reader: Principal) -> Schedule:
        """Return the schedule that `define` would store under a new name, and store nothing."""
        _check_name(name)
        await self._check_work(wish.order.work, reader)
        return schedule_rules.define(None, wish.order, tenant=reader.tenant, name=name, now=self._clock.now())

    def _paused_as_asked(self, schedule: Schedule, paused: bool | None, operator: Operator) -> Schedule:
        if paused is None:
            return schedule
        if paused:
            return schedule_rules.pause(schedule, self._pause_by(operator, None))
        return schedule_rules.resume(schedule, now=self._clock.now())

    def _pause_by(self, operator: Operator, reason: str | None) -> Pause:
        return Pause(operator.actor.client, operator.actor.token_id, reason, self._clock.now())

    async def _check_work(self, work: Work, reader: Principal) -> None:
        """Refuse work that intake would refuse now."""
        kind = self._kinds.get(work.kind) or await self._kinds.look_again(work.kind)
        if kind is None:
            errors: list[ErrorAt] = [{"pointer": "/kind", "detail": f"unknown kind {work.kind!r}"}]
            raise unknown_kind(work.kind, self._kinds.names, reader, errors=errors)
        client = (reader.tenant, reader.client)
        if await self._payloads.refusal(work.payload, kind, client=client) is None:
            return
        # A worker with another schema may have come meanwhile.
        if (refusal := await self._payloads.look_again(work.payload, kind, client=client)) is not None:
            raise refusal

    async def remove(self, name: str, *, operator: Operator) -> Schedule:
        """Delete a schedule and return it. Its jobs stay."""
        found = await self.existing(name, tenant=operator.tenant)
        await self._audit.note(operator, AuditAction.SCHEDULE_DELETE, {"schedule": name})
        await self._store.remove(name, tenant=operator.tenant)
        return found

    async def pause(self, name: str, reason: str | None, *, operator: Operator) -> Schedule:
        """Pause a schedule."""

        def paused(schedule: Schedule) -> Schedule:
            return schedule_rules.pause(schedule, self._pause_by(operator, reason))

        return await self._change(name, paused, AuditAction.SCHEDULE_PAUSE, operator, reason)

    async def resume(self, name: str, *, operator: Operator) -> Schedule:
        """Resume a schedule."""

        def resumed(schedule: Schedule) -> Schedule:
            return schedule_rules.resume(schedule, now=self._clock.now())

        return await self._change(name, resumed, AuditAction.SCHEDULE_RESUME, operator)

    async def run_now(self, name: str, *, operator: Operator) -> Firing:
        """Ask for a firing, which obeys the overlap rule. Return it; the one that waits already, if there is one."""

        def asked(schedule: Schedule) -> Schedule:
            return schedule_rules.ask(schedule, now=self._clock.now())

        found = (await self._change(name, asked, AuditAction.SCHEDULE_RUN, operator)).progress.asked
        if found is None:
            raise _overtaken(name)
        return found

    async def backfill(self, name: str, wish: BackfillWish, *, operator: Operator) -> Backfill:
        """Let past instants fire that have no job. Return the backfill; the one under way, if it is the same."""

        def asked(schedule: Schedule) -> Schedule:
            found = schedule_backfills.ask(
                schedule, from_at=wish.from_at, until_at=wish.until_at, limit=wish.limit, now=self._clock.now()
            )
            if found is None:
                raise _nothing_due(wish)
            return found

        target = {"from": rfc3339(wish.from_at), "until": rfc3339(wish.until_at), "limit": wish.limit}
        changed = await self._change(name, asked, AuditAction.SCHEDULE_BACKFILL, operator, target=target)
        if changed.progress.backfill is None:
            raise _overtaken(name)
        return changed.progress.backfill

    async def existing(self, name: str, *, tenant: str) -> Schedule:
        """Return a schedule of the tenant, or raise the 404."""
        found = await self._store.get(name, tenant=tenant) if SCHEDULE_NAME.fullmatch(name) else None
        if found is None:
            detail = f"no schedule has the name {name[:64]!r}; GET /schedules lists them"
            raise ProblemError(problem("not-found", detail))
        return found

    async def _change(
        self,
        name: str,
        change: Callable[[Schedule], Schedule],
        action: AuditAction,
        operator: Operator,
        reason: str | None = None,
        target: Mapping[str, Any] = MappingProxyType({}),
    ) -> Schedule:
        is_noted = False
        for _ in range(TRIES):
            earlier = await self.existing(name, tenant=operator.tenant)
            try:
                wanted = change(earlier)
            except BadCron as error:
                raise gone_zone(error) from None
            if wanted == earlier:
                return earlier
            if not is_noted:
                await self._audit.note(operator, action, {"schedule": name, **target}, reason=reason)
                is_noted = True
            wanted = schedule_rules.written(wanted, self._clock.now())
            if await self._store.replace(wanted):
                return wanted
        raise _overtaken(name)


def _check_name(name: str) -> None:
    if SCHEDULE_NAME.fullmatch(name) is None:
        detail = "a name is 1 to 55 of the characters a-z, 0-9, '.', '_' and '-', and starts with a letter or digit"
        raise ProblemError(problem("invalid-field", detail, errors=[{"pointer": "", "detail": detail}]))


def _is_added(outcome: ScheduleAdded) -> bool:
    if outcome is ScheduleAdded.TENANT_FULL:
        detail = f"the tenant has {MOST_OF_TENANT:,} schedules, which is the maximum; delete some"
        raise ProblemError(problem("too-many-schedules", detail))
    if outcome is ScheduleAdded.ALL_FULL:
        detail = f"all tenants together have {MOST_IN_ALL:,} schedules, which is the maximum; delete some"
        raise ProblemError(problem("too-many-schedules", detail))
    return outcome is ScheduleAdded.ADDED


def gone_zone(error: BadCron) -> ProblemError:
    """Return the problem of a stored time zone that the current data no longer contain."""
    detail = f"the schedule's time zone {error}; define the schedule again"
    return ProblemError(problem("invalid-field", detail, errors=[{"pointer": "/timezone", "detail": str(error)}]))


def _nothing_due(wish: BackfillWish) -> ProblemError:
    detail = f"no instant of the schedule lies from {rfc3339(wish.from_at)} until before {rfc3339(wish.until_at)}"
    return ProblemError(
        problem("invalid-field", f"{detail}. Nothing was changed", errors=[{"pointer": "/from", "detail": detail}])
    )


def _overtaken(name: str) -> ProblemError:
    return ProblemError(problem("busy", f"schedule {name!r} changed during each attempt; send the request again"))
