"""The newest revision of each job that was shown, so that none is shown twice or after a later one. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime

from acked_client.model.jobs import HistoryLine, JobEvent
from acked_client.model.states import ENDED

MOST_ENDED = 100_000
"""The maximum of ended jobs that are remembered, the newest ones; in addition to all live jobs."""
MOST_LIVE = 1_000_000


class ShownRevisions:
    """The newest revision of each job that was shown.

    Of the ended jobs only the newest are remembered. A forgotten job counts as shown when the client catches up, so no
    transition is repeated; the feed itself shows it again once it moves.
    """

    def __init__(self, most_ended: int = MOST_ENDED, most_live: int = MOST_LIVE) -> None:
        self._live: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._most_ended = most_ended
        self._most_live = most_live
        self._forgotten_to = ""
        self.last_at: datetime | None = None
        """The instant of the latest transition that was shown."""

    def rev(self, job_id: str) -> int:
        """Return the newest revision that was shown; 0 for none."""
        return self._live.get(job_id) or self._ended.get(job_id, 0)

    def was_forgotten(self, job_id: str) -> bool:
        """Whether the job may have been shown and forgotten: ids sort by when they were accepted."""
        return job_id <= self._forgotten_to

    @property
    def live(self) -> list[str]:
        """The ids of the jobs that had not ended, oldest first."""
        return sorted(self._live)

    @property
    def newest(self) -> str | None:
        """The id of the job that was accepted last of those that are remembered."""
        return max((max(part) for part in (self._live, self._ended) if part), default=None)

    def take(self, event: JobEvent) -> bool:
        """Return whether a transition is to be shown, and remember it as shown."""
        if event.rev <= self.rev(event.id):
            return False
        self._live.pop(event.id, None)
        self._ended.pop(event.id, None)
        (self._ended if event.state in ENDED else self._live)[event.id] = event.rev
        self.last_at = event.at if self.last_at is None else max(self.last_at, event.at)
        self._forget()
        return True

    def takes_progress(self, event: JobEvent) -> bool:
        """Return whether a progress report is to be shown: not if a later revision was."""
        return event.rev >= self.rev(event.id)

    def _forget(self) -> None:
        for part, most in ((self._ended, self._most_ended), (self._live, self._most_live)):
            if len(part) > most:
                oldest = next(iter(part))
                del part[oldest]
                self._forgotten_to = max(self._forgotten_to, oldest)


def history_events(job_id: str, history: Iterable[HistoryLine]) -> list[JobEvent]:
    """Return the transitions of a job, as the feed would have shown them."""
    return [
        JobEvent(id=job_id, rev=line.rev, state=line.state, reason=line.reason, attempt=line.attempt, at=line.at)
        for line in history
    ]


def accepted_at(job_id: str) -> datetime:
    """Return the instant in an id, a UUIDv7. Raise `ValueError` for a text that is none."""
    return datetime.fromtimestamp(int(job_id.replace("-", "")[:12], 16) / 1000, UTC)
