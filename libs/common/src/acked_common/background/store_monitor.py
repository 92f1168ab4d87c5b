"""Monitor MongoDB for one process: availability, schema, and the offset of its clock."""

import asyncio
from datetime import datetime

from acked_common.runtime.clock import SharedClock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import SchemaMismatch, StoreError
from acked_common.store.ports import HealthStore

log = get_log(__name__)

LOOK_EVERY_S = 1.0
CLOCK_EVERY_S = 30.0
CLOCK_TRIES = 3
CLOCK_OFF_BY_S = 1.0


class StoreMonitor:
    """Updates `problem` and the offset of the clock."""

    def __init__(self, store: HealthStore, clock: SharedClock) -> None:
        self._store = store
        self._clock = clock
        self._clock_set_at: float | None = None
        self._measured = asyncio.Event()
        self._problem: str | None = "not checked yet"

    @property
    def problem(self) -> str | None:
        """Why the store can't be used now; None if it can."""
        return self._problem

    def start(self, tasks: Tasks) -> None:
        """Start to monitor."""
        tasks.repeat("store monitor", self.look, every_s=LOOK_EVERY_S)

    @property
    def is_measured(self) -> bool:
        """Whether the clock has been measured."""
        return self._measured.is_set()

    async def wait_measured(self) -> None:
        """Wait until the clock is measured. Before that, no lease may begin and no job may expire."""
        await self._measured.wait()

    async def look(self) -> None:
        """Check once. Never raises `StoreError`."""
        started = self._clock.monotonic()
        try:
            server_at = await self._store.server_time()
            round_trip_s = self._clock.monotonic() - started
            if self._clock_set_at is not None and self._clock.is_off(
                server_at=server_at, asked=started, round_trip_s=round_trip_s, by_s=CLOCK_OFF_BY_S
            ):
                # MongoDB's clock was set, or this machine was suspended.
                log.warning("the clock jumped against MongoDB's")
                self._clock_set_at = None
            if self._clock_set_at is None or started - self._clock_set_at >= CLOCK_EVERY_S:
                await self._set_clock()
                self._clock_set_at = started
                self._measured.set()
            if self._problem is not None:
                # After an outage another database may respond, so check the schema again.
                await self._store.check_schema()
                log.info("store is ready")
            self._problem = None
        except SchemaMismatch as error:
            self._note(str(error))
        except StoreError as error:
            self._clock_set_at = None
            self._note(f"MongoDB does not respond: {error}")

    async def _set_clock(self) -> None:
        """Measure with the fastest of a few replies; the others were delayed by a new connection or a busy loop."""
        best: tuple[float, datetime, float] | None = None
        for _ in range(CLOCK_TRIES):
            asked = self._clock.monotonic()
            server_at = await self._store.server_time()
            round_trip_s = self._clock.monotonic() - asked
            if best is None or round_trip_s < best[0]:
                best = round_trip_s, server_at, asked
        if best is not None:
            round_trip_s, server_at, asked = best
            self._clock.adjust(server_at=server_at, asked=asked, round_trip_s=round_trip_s)

    def _note(self, problem: str) -> None:
        if self._problem != problem:
            log.warning("store is not ready", problem=problem)
        self._problem = problem
