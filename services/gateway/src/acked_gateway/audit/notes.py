"""Write an entry of the audit before each act of an operator; without an entry there is no act."""

from collections.abc import Mapping
from typing import Any

from acked_common.model.audit import AuditAction, new_entry
from acked_common.model.principal import Operator
from acked_common.runtime.clock import Clock
from acked_common.store.audit import AuditStore


class Audit:
    """Writes the acts of operators to the audit."""

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
        """Write an entry to the journals of a majority; the act may begin afterwards. Raises `StoreError`: it may not.

        Call this after every check that needs no write, so that a refused act has no entry. `target` names the object
        of the act in JSON values without payload and result.
        """
        entry = new_entry(operator, action, target, at=self._clock.now(), reason=reason, count=count)
        await self._store.note(entry)
