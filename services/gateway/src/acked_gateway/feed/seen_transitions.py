"""What the change stream has shown of jobs lately: what was told already, and who may report progress. Pure.

Transitions come from the stream alone. A report could say what never happened, and everybody who holds the worker
secret can write one. Progress that is reported ahead of the stream must carry the nonce of the claim that owns the
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
"""How many of the oldest may be spared for each that is forgotten."""
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
    """The newest transition of each job that runs or moved lately; the oldest of the others are forgotten."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self.forgotten = 0
        """How many jobs were forgotten so far."""

    def clear(self) -> None:
        """The stream begins anew."""
        self.forgotten += len(self._known)
        self._known.clear()

    def take(self, news: JobUpdate) -> bool:
        """A transition from the stream; False when it was told already: the job was logged again without having
        moved."""
        event = news.event
        if event is None:
            raise ValueError("progress is no transition")
        known = self._known.get(news.id)
        if known is not None and event.rev <= known.event.rev:
            return False
        nonce = news.nonce or (known.nonce if known is not None and event.state is State.RUNNING else None)
        self._keep(news.id, _Known(event, news.origin, nonce))
        return True

    def seed(self, news: JobUpdate) -> None:
        """A job as a look found it; the stream has shown all that happened before that look, and nothing of this job
        since."""
        if news.event is not None and news.id not in self._known:
            self._keep(news.id, _Known(news.event, news.origin, news.nonce))

    def report_progress(self, report: ProgressEvent) -> JobUpdate | None:
        """Progress that a worker reports: what to tell of it, if the worker owns the attempt and it is news."""
        known = self._known.get(report.id)
        if known is None or known.event.state is not State.RUNNING or known.event.attempt != report.attempt:
            return None
        if known.nonce is None or not hmac.compare_digest(
            known.nonce.encode(), report.nonce.encode("utf-8", "replace")
        ):
            return None
        return self._progressed(report.id, known, report.progress)

    def take_progress(self, job_id: UUID, progress: bytes) -> JobUpdate | None:
        """Progress from the stream."""
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

    def _keep(self, job_id: UUID, known: _Known) -> None:
        self._known[job_id] = known
        self._known.move_to_end(job_id)
        while len(self._known) > self._kept and self._forget_oldest():
            self.forgotten += 1

    def _forget_oldest(self) -> bool:
        """Forgets one; False where too many of the oldest must be spared: then there are more for a while."""
        for _ in range(_SPARED):
            oldest, known = next(iter(self._known.items()))
            # A long job's progress is told however much moves beside.
            if known.event.state is not State.RUNNING:
                del self._known[oldest]
                return True
            self._known.move_to_end(oldest)
        return False
