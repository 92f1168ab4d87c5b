"""Read what earlier attempts of a job, and other workers, say about an ending.

Most endings need nothing. Only an ending that would use up the failures or crashes of its run needs the progress of its
ledger, unless the attempt has opened that. Only an attempt that did not start, of a job with many attempts, needs the
history. Only a payload that its handler did not take needs the workers: others may serve another version.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from acked_common.model.poison import MAX_CRASHES
from acked_common.outcomes.outcome import Crashed, Ending, Failed, Interrupted, InterruptReason, TimedOut
from acked_common.outcomes.outcome_rules import idle_starts, may_be_idle
from acked_common.outcomes.payload import INVALID_PAYLOAD
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import OutcomeStore
from acked_common.store.records import ClaimedJob, KindRecord
from acked_worker.consume.in_flight import InFlight

log = get_log(__name__)

RETRY_S = 0.3
VERSIONS_SEEN_WITHIN_S = 10.0

Ended = tuple[InFlight, Ending]
Found = TypeVar("Found")


class EarlierAttempts:
    """The reads of one recorder. They are repeated until they succeed."""

    def __init__(self, store: OutcomeStore, kind_of: Callable[[str], KindRecord]) -> None:
        self._store = store
        self._kind_of = kind_of

    async def judged(self, batch: Sequence[Ended]) -> list[Ended]:
        """Return the endings with what the rules of outcomes need to know of earlier attempts, in the same order."""
        await self._read_progress(batch)
        changed = {**await self._read_idle_starts(batch), **await self._read_versions(batch)}
        return [(held, _with_progress(changed.get(held, ending), held)) for held, ending in batch]

    async def _read_progress(self, batch: Sequence[Ended]) -> None:
        """Read the progress of attempts that would end their run, and have not opened their ledger.

        An earlier attempt may have made progress, from which failures and crashes count.
        """
        asked = [
            held for held, ending in batch if held.progressed_at_failures is None and self._may_be_last(held, ending)
        ]
        if not asked:
            return
        ids = [held.job.id for held in asked]
        found = await _until_read("ledgers", lambda: self._store.ledgers().read_progress(ids))
        for held in asked:
            progress = found.get(held.job.id)
            held.progressed_at_failures = 0
            if progress is not None and progress.run == held.job.run:
                held.progressed_at_failures = progress.at_failures
                held.progressed_at_crashes = progress.at_crashes

    async def _read_idle_starts(self, batch: Sequence[Ended]) -> dict[InFlight, Ending]:
        asked = [held for held, ending in batch if _is_idle(held.job, ending)]
        if not asked:
            return {}
        ids = [held.job.id for held in asked]
        found = await _until_read("histories", lambda: self._store.histories(ids))
        starts = {held: idle_starts(found.get(held.job.id, ())) for held in asked}
        return {held: Interrupted(InterruptReason.NOT_STARTED, idle) for held, idle in starts.items()}

    async def _read_versions(self, batch: Sequence[Ended]) -> dict[InFlight, Ending]:
        """Make failures by the payload retryable while a live worker serves another version of the kind.

        Intake has accepted the payload because that version takes it, and the next attempt may reach its worker.
        """
        asked = [(held, ending) for held, ending in batch if isinstance(ending, Failed) and _is_by_payload(ending)]
        if not asked:
            return {}
        workers = await _until_read("workers", lambda: self._store.workers(seen_within_s=VERSIONS_SEEN_WITHIN_S))
        found: dict[InFlight, Ending] = {}
        for held, ending in asked:
            kind = self._kind_of(held.job.kind)
            own = kind.schemas[0].digest if kind.schemas else None
            if any(kind.name in worker.kinds and worker.schemas.get(kind.name) != own for worker in workers):
                error = dataclasses.replace(ending.error, retryable=True)
                found[held] = dataclasses.replace(ending, error=error, retryable=True)
        return found

    def _may_be_last(self, held: InFlight, ending: Ending) -> bool:
        job = held.job
        if isinstance(ending, Crashed):
            return job.crashes + 1 >= MAX_CRASHES
        is_retryable = isinstance(ending, TimedOut) or (isinstance(ending, Failed) and ending.retryable)
        return is_retryable and job.failures + 1 >= self._kind_of(job.kind).attempts_of(job.options.max_attempts)


def _is_idle(job: ClaimedJob, ending: Ending) -> bool:
    return isinstance(ending, Interrupted) and ending.reason is InterruptReason.NOT_STARTED and may_be_idle(job)


def _is_by_payload(ending: Failed) -> bool:
    return ending.error.type == INVALID_PAYLOAD and not ending.retryable


def _with_progress(ending: Ending, held: InFlight) -> Ending:
    if isinstance(ending, Failed | TimedOut) and held.progressed_at_failures:
        return dataclasses.replace(ending, progressed_at_failures=held.progressed_at_failures)
    if isinstance(ending, Crashed) and held.progressed_at_crashes:
        return dataclasses.replace(ending, progressed_at_crashes=held.progressed_at_crashes)
    return ending


async def _until_read(what: str, read: Callable[[], Awaitable[Found]]) -> Found:
    while True:
        try:
            return await read()
        except StoreError as error:
            log.warning(f"{what} not read yet", error=str(error))
            await asyncio.sleep(RETRY_S)
