"""The attempts that this worker holds, from the claim to the recorded outcome."""

from collections.abc import Iterable
from itertools import islice

from acked_common.store.records import ClaimedJob


class InFlight:
    """One claimed attempt."""

    __slots__ = (
        "cancelling",
        "claimed_at",
        "ended",
        "has_unread_signal",
        "id",
        "is_suspected",
        "job",
        "lane",
        "progressed_at_crashes",
        "progressed_at_failures",
        "signals",
        "took_s",
    )

    def __init__(
        self, job: ClaimedJob, lane: str, claimed_at: float, *, cancelling: bool = False, ended: bool = False
    ) -> None:
        """`claimed_at` is on the monotonic clock."""
        self.id = str(job.id)
        self.job = job
        self.lane = lane
        self.claimed_at = claimed_at
        self.cancelling = cancelling
        self.ended = ended
        self.took_s = 0.0
        """From `claimed_at` to its end; 0 until then, and for an attempt that was never handed over."""
        self.is_suspected = False
        """Whether it ran when a job of this worker made the worker stop, and may have caused that."""

        self.signals = 0
        """The number of signals that were announced to the job, by the newest renewal."""
        self.has_unread_signal = False
        """Whether it has parked while the job knew of a signal that the attempt has not read."""
        self.progressed_at_failures: int | None = None
        """The failures of the run when a durable call last had a new outcome; None while the ledger was not read."""
        self.progressed_at_crashes = 0
        """The crashes of the run then."""

    @property
    def nonce(self) -> str:
        """The claim that owns the attempt."""
        return self.job.nonce


class InFlightAttempts:
    """Held attempts by job id and attempt: after a lost lease a worker may hold two attempts of one job."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], InFlight] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Iterable[InFlight]) -> None:
        """Add new attempts."""
        for one in held:
            self._held[one.id, one.job.attempt] = one

    def get(self, job_id: str, attempt: int) -> InFlight | None:
        """Return the attempt, if it is still held."""
        return self._held.get((job_id, attempt))

    def remove(self, held: InFlight) -> None:
        """Remove an attempt."""
        self._held.pop((held.id, held.job.attempt), None)

    def longest(self, at_most: int) -> list[InFlight]:
        """Return the attempts that run longest: they were added first."""
        return list(islice((held for held in self._held.values() if not held.ended), at_most))

    def suspect_all(self) -> None:
        """Mark every attempt: if it runs again, it does so isolated."""
        for held in self._held.values():
            held.is_suspected = True

    def all(self) -> list[InFlight]:
        """All held attempts."""
        return list(self._held.values())
