"""Writes an entry of the audit before an act. Whoever acts for a person calls it; without an entry there is no act."""

from collections.abc import Mapping
from typing import Any

from acked_common.model.audit import AuditAction, new_entry
from acked_common.model.principal import Operator
from acked_common.runtime.clock import Clock
from acked_common.store.audit import AuditStore


class Audit:
    """Notes what operators ask for."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def note(
        self,
        operator: Operator,
        action: AuditAction,
        target: Mapping[str, Any],
        *,
        reason: str | None = None,
        count: int | None = None,
    ) -> None:
        """Write an entry, in the journals of a majority; then the act may begin. Raises `StoreError`: then it may not.

        Call it behind every check that needs no write, so that what is refused is not noted. `target` says on what, as
        JSON values that name no payload and no result.
        """
        entry = new_entry(operator, action, target, at=self._clock.now(), reason=reason, count=count)
        await self._store.note(entry)
