"""Write the newest progress of each running attempt to its job, periodically."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from acked_common.model.events import ProgressEvent
from acked_common.model.instants import rfc3339
from acked_common.runtime.clock import Clock
from acked_common.store.ports import ProgressStore
from acked_common.store.records import ProgressReport
from acked_worker.consume.in_flight import InFlightAttempts


class ProgressWriter:
    """Reports that a failed write loses are not repeated: the next report replaces them."""

    def __init__(self, store: ProgressStore, running: InFlightAttempts, clock: Clock) -> None:
        self._store = store
        self._running = running
        self._clock = clock
        self._newest: dict[UUID, ProgressReport] = {}

    def take(self, reports: Sequence[tuple[str, int, object]]) -> list[ProgressEvent]:
        """Buffer reports (job id, attempt, progress) for the next write, and return them in the form for gateways."""
        at = rfc3339(self._clock.now())
        events: list[ProgressEvent] = []
        for job_id, attempt, value in reports:
            held = self._running.get(job_id, attempt)
            if held is not None and isinstance(value, dict):
                text = msgspec.json.encode({**value, "at": at})
                self._newest[held.job.id] = ProgressReport(held.job.id, attempt, held.nonce, text)
                events.append(ProgressEvent(held.job.id, attempt, text, held.nonce))
        return events

    async def write(self) -> None:
        """Persist the newest report of each attempt. Raises `StoreError`."""
        reports, self._newest = self._newest, {}
        await self._store.report_progress(list(reports.values()))
