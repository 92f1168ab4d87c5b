"""The announcement of signals in memory."""

from datetime import timedelta
from typing import TYPE_CHECKING

from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Move, Seen, State
from acked_common.model.lifecycle_waits import ANY_SIGNAL, waits_from
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.parked import Announced, ResumeOrder

if TYPE_CHECKING:
    from support.memory_store import MemoryStore


class MemorySignals:
    """`TransitionStore.announce`."""

    async def announce(self: "MemoryStore", pending: PendingSignals, order: ResumeOrder) -> Announced | None:
        from support.memory_store import _moved

        document = self._jobs.get(pending.id)
        if document is None:
            return None
        waits = waits_from(document.get("waits"))
        state = State(document["state"])
        is_awaited = waits is not None and (
            any(map(waits.wakes_on, pending.names)) or (ANY_SIGNAL in pending.names and bool(waits.signals))
        )
        woken_at = None
        if state is State.WAITING and is_awaited:
            at = document["history"][-1]["at"]
            seen = Seen(pending.id, state, document["rev"], document["attempt"], at=at)
            document = _moved(document, Move(seen, order.transition))
            own_s = document.get("expires_in_s", order.expires_in_s)
            document["expires_at"] = document["queued_at"] + timedelta(milliseconds=int(own_s * 1000))
            grace = timedelta(milliseconds=int(order.grace_s * 1000))
            document[NEXT_CHECK_AT] = min(document["queued_at"] + grace, document["expires_at"])
            document["reserved_by"] = order.nonce
            document["signals"] = max(document.get("signals", 0), pending.in_seq)
            self._jobs[pending.id] = document
            self._tell(document)
            woken_at, state = document["queued_at"], State.QUEUED
        elif state in (State.RUNNING, State.QUEUED, State.SCHEDULED):
            document["signals"] = max(document.get("signals", 0), pending.in_seq)
        owner = document.get("owner")
        return Announced(
            id=pending.id,
            kind=document["kind"],
            state=state,
            attempt=document["attempt"],
            boot=None if owner is None else owner["boot"],
            woken_at=woken_at,
        )
