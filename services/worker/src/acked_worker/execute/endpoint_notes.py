"""Record the outcomes of deliveries to callback endpoints, in batches.

A note concerns the definition that an attempt has used. Notes that are lost with the worker are made again by the next
attempts.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from acked_common.model.callback_endpoints import EndpointOutcomes
from acked_common.model.callbacks import CALLBACK_KIND
from acked_common.outcomes.outcome import Ending, Failed, Succeeded, TimedOut
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.store.callback_endpoints import EndpointReader
from acked_common.store.errors import StoreError
from acked_worker.execute.attempt import Assignment

EVERY_S = 1.0
MOST_NOTED = 2000
"""Definitions whose notes wait for MongoDB; those of others are left out."""
GONE = "callback-gone"


class EndpointNotes:
    """Collects the endings of attempts. On the plumbing loop."""

    def __init__(self, store: EndpointReader, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[tuple[str, str, int], EndpointOutcomes] = {}

    def start(self, tasks: Tasks) -> None:
        """Start to write."""
        tasks.repeat("notes of callback endpoints", self.write, every_s=EVERY_S)

    def ended(self, ended: Iterable[tuple[Assignment, Ending]]) -> None:
        """Take the endings of deliveries to endpoints; ignore all others."""
        for assignment, ending in ended:
            if assignment.kind == CALLBACK_KIND and isinstance(assignment.payload, dict):
                self._note(assignment.payload, ending)

    async def write(self) -> None:
        """Write what was collected. Raise `StoreError`; it is written later then."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await self._store.note(list(noted.values()))
        except StoreError:
            # A repetition has the same effect, should the write have arrived.
            for key, newer in self._noted.items():
                noted[key] = noted[key].followed_by(newer) if key in noted else newer
            self._noted = noted
            raise

    def _note(self, payload: dict[str, Any], ending: Ending) -> None:
        rev = payload.get("endpoint_rev")
        if not isinstance(rev, int):
            return
        key = (str(payload["tenant"]), str(payload["endpoint"]), rev)
        newer = _outcome(EndpointOutcomes(*key), ending, self._clock.now())
        earlier = self._noted.get(key)
        if newer is not None and (earlier is not None or len(self._noted) < MOST_NOTED):
            self._noted[key] = newer if earlier is None else earlier.followed_by(newer)


def _outcome(one: EndpointOutcomes, ending: Ending, at: datetime) -> EndpointOutcomes | None:
    """Return the outcome of an attempt; None if nothing was sent, which is no fault of the receiver."""
    if isinstance(ending, Succeeded):
        return replace(one, succeeded=True)
    if isinstance(ending, TimedOut):
        return replace(one, failed_at=at, error=ending.error.message)
    if isinstance(ending, Failed) and "duration_s" in (ending.error.details or {}):
        gone_at = at if ending.error.type == GONE else None
        return replace(one, failed_at=at, gone_at=gone_at, error=ending.error.message)
    return None
