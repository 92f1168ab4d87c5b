"""The attempts that this worker holds, from the claim to the recorded outcome."""

from collections.abc import Iterable

from acked_common.store.records import ClaimedJob


class InFlight:
    """One claimed attempt."""

    __slots__ = ("cancelling", "claimed_at", "ended", "id", "is_suspected", "job", "lane", "took_s")

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
        """From `claimed_at` to its end; 0 until then, and for what was never handed over."""
        self.is_suspected = False
        """It ran when one of the jobs here made the worker stop; perhaps it was that one."""

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
        """Holds new attempts."""
        for one in held:
            self._held[one.id, one.job.attempt] = one

    def get(self, job_id: str, attempt: int) -> InFlight | None:
        """The attempt, if it is still held."""
        return self._held.get((job_id, attempt))

    def remove(self, held: InFlight) -> None:
        """Lets go of an attempt."""
        self._held.pop((held.id, held.job.attempt), None)

    def suspect_all(self) -> None:
        """Mark every attempt: if it runs again, it does so isolated."""
        for held in self._held.values():
            held.is_suspected = True

    def all(self) -> list[InFlight]:
        """All held attempts."""
        return list(self._held.values())
