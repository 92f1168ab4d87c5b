"""Register the worker: its kinds, the document that it refreshes, and its hello to gateways."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from acked_common.background.kind_cache import KindCache
from acked_common.channel.frames import Hello
from acked_common.channel.worker_end import hello_of
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import KindStore, PresenceStore
from acked_common.store.records import RUNNING_JOBS_KEPT, KindRecord, RunningJob, WorkerRecord
from acked_worker.consume.in_flight import InFlightAttempts
from acked_worker.handlers.registration import schema_digests, unserved, worker_version

log = get_log(__name__)

REGISTER_EVERY_S = 30.0
REFRESH_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The identity of one worker process, and its kinds."""

    boot: str
    """Identifies this process in leases."""
    name: str
    kinds: Mapping[str, KindRecord]
    slots: int
    since_at: datetime


class RegistryStore(KindStore, PresenceStore, Protocol):
    """The storage ports for a worker's registration."""


class Presence:
    """Registers this worker and refreshes its document."""

    def __init__(
        self,
        identity: WorkerIdentity,
        store: RegistryStore,
        kind_cache: KindCache,
        running: InFlightAttempts,
        clock: Clock,
        *,
        finished: Callable[[], int],
        stop: asyncio.Event,
    ) -> None:
        """`finished` counts the jobs that this process has ended; `stop` is set when the document requests a drain."""
        self._identity = identity
        self._schemas = schema_digests(identity.kinds)
        self._store = store
        self._kind_cache = kind_cache
        self._running = running
        self._clock = clock
        self._finished = finished
        self._stop = stop

    def start(self, tasks: Tasks, *, renewal_s: float) -> None:
        """Register and refresh, in the background."""
        tasks.repeat("register kinds", self.register, every_s=REGISTER_EVERY_S)
        tasks.repeat("presence", self.refresh, every_s=min(REFRESH_EVERY_S, renewal_s))

    def hello(self, stream: int) -> Hello:
        """Return the first frame of the connection with this number."""
        own = self._identity
        return hello_of(
            boot=own.boot,
            worker=own.name,
            kinds=sorted(own.kinds),
            version=worker_version(),
            slots=own.slots,
            stream=stream,
        )

    async def register(self) -> None:
        """Register the kinds, and warn of kinds on the same lanes that only others serve. Raises `StoreError`."""
        if self._stop.is_set():
            # In a rolling restart, another version may have registered meanwhile, and the last registration counts.
            return
        now = self._clock.now()
        kinds = self._identity.kinds
        await self._store.register_kinds([replace(record, seen_at=now) for record in kinds.values()])
        since = now - timedelta(seconds=2 * REGISTER_EVERY_S)
        for lane, names in unserved(kinds, self._kind_cache.all(), since=since).items():
            log.warning(
                "jobs of a shared lane wait: load these handlers here, or name other lanes", lane=lane, kinds=names
            )

    async def refresh(self) -> None:
        """Refresh the worker's document; stop if it requests a drain. Raises `StoreError`."""
        own = self._identity
        drain_requested = await self._store.refresh_worker(
            WorkerRecord(
                boot=own.boot,
                name=own.name,
                kinds=tuple(sorted(own.kinds)),
                slots=own.slots,
                running=len(self._running),
                finished=self._finished(),
                version=worker_version(),
                since_at=own.since_at,
                seen_at=self._clock.now(),
                running_jobs=self._running_jobs(),
                schemas=self._schemas,
            )
        )
        if drain_requested:
            self._stop.set()

    def _running_jobs(self) -> tuple[RunningJob, ...]:
        jobs = (held.job for held in self._running.longest(RUNNING_JOBS_KEPT))
        return tuple(RunningJob(job.id, job.kind, job.attempt, job.started_at, job.tenant) for job in jobs)

    async def leave(self) -> None:
        """Delete the worker's document. If that fails, it expires."""
        try:
            await self._store.forget_worker(self._identity.boot)
        except StoreError:
            pass
