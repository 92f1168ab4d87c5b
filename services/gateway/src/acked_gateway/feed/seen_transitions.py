"""The newest transitions of the change stream: drops repeated ones, and decides which reported progress to trust. Pure.

Only the stream adds transitions. A report could contain one that never happened, and every holder of the worker secret
can write a report. Progress that is reported ahead of the stream must carry the nonce of the claim that owns the
attempt: only the store and the worker that made the claim know it.
"""

import hmac
from collections import OrderedDict
from uuid import UUID

import msgspec

from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.model.lifecycle import State
from acked_common.model.topics import Origin

KEPT = 20_000
_SPARED = 32
"""Running jobs that are skipped at most to forget one job."""
MAX_PROGRESS_BYTES = 64 * 1024


class _Known(msgspec.Struct):
    event: JobEvent
    origin: Origin
    """From the stream: no report of a worker can change the tenant of a job."""
    nonce: str | None
    """Of the claim that owns the attempt, while it runs."""
    progress_at: str = ""


class _ProgressInstant(msgspec.Struct):
    at: str


_progress = msgspec.json.Decoder(_ProgressInstant)


class SeenTransitions:
    """The newest transition of each job that runs or moved recently; the oldest other jobs are forgotten."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self.forgotten = 0
        """The number of jobs that were forgotten so far."""

    def clear(self) -> None:
        """Forget all jobs: the stream starts over."""
        self.forgotten += len(self._known)
        self._known.clear()

    def record(self, update: JobUpdate) -> bool:
        """Record a transition from the stream; return False if it is known: the job was logged again without a
        move."""
        event = update.event
        if event is None:
            raise ValueError("progress is no transition")
        known = self._known.get(update.id)
        if known is not None and event.rev <= known.event.rev:
            return False
        nonce = update.nonce or (known.nonce if known is not None and event.state is State.RUNNING else None)
        self._put(update.id, _Known(event, update.origin, nonce))
        return True

    def seed(self, update: JobUpdate) -> None:
        """Record a job from a snapshot, once the stream has shown all changes from before the snapshot; a job that the
        stream has shown stays."""
        if update.event is not None and update.id not in self._known:
            self._put(update.id, _Known(update.event, update.origin, update.nonce))

    def report_progress(self, report: ProgressEvent) -> JobUpdate | None:
        """Return the update of a progress report, if its worker owns the attempt and it is newer; else None."""
        known = self._known.get(report.id)
        if known is None or known.event.state is not State.RUNNING or known.event.attempt != report.attempt:
            return None
        if known.nonce is None or not hmac.compare_digest(
            known.nonce.encode(), report.nonce.encode("utf-8", "replace")
        ):
            return None
        return self._progressed(report.id, known, report.progress)

    def record_progress(self, job_id: UUID, progress: bytes) -> JobUpdate | None:
        """Return the update of progress from the stream, if it is newer; else None."""
        known = self._known.get(job_id)
        if known is None or known.event.state is not State.RUNNING:
            return None
        return self._progressed(job_id, known, progress)

    def _progressed(self, job_id: UUID, known: _Known, progress: bytes) -> JobUpdate | None:
        if len(progress) > MAX_PROGRESS_BYTES:
            return None
        try:
            at = _progress.decode(progress).at
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        # RFC 3339 in UTC sorts as text.
        if at <= known.progress_at:
            return None
        known.progress_at = at
        return JobUpdate(job_id, known.origin, known.event, progress)

    def _put(self, job_id: UUID, known: _Known) -> None:
        self._known[job_id] = known
        self._known.move_to_end(job_id)
        while len(self._known) > self._kept and self._forget_oldest():
            self.forgotten += 1

    def _forget_oldest(self) -> bool:
        """Forget one job; return False if the oldest all run: then there are more for a while."""
        for _ in range(_SPARED):
            oldest, known = next(iter(self._known.items()))
            # The progress of a long job is published however many other jobs move.
            if known.event.state is not State.RUNNING:
                del self._known[oldest]
                return True
            self._known.move_to_end(oldest)
        return False
