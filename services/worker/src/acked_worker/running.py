"""The attempts that this worker holds, from the claim to the recorded outcome."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from acked_common.store import Job


@dataclass(slots=True, eq=False)
class Held:
    """One claimed attempt."""

    job: Job
    lane: str
    claimed_at: float
    """On the monotonic clock."""
    cancelling: bool = False
    ended: bool = False

    @property
    def nonce(self) -> str:
        """The claim that owns the attempt."""
        if self.job.owner is None:
            raise ValueError(f"job {self.job.id} was claimed without an owner")
        return self.job.owner.nonce


class Running:
    """Held attempts by job id and attempt: after a lost lease a worker may hold two attempts of one job."""

    def __init__(self) -> None:
        self._held: dict[tuple[UUID, int], Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Iterable[Held]) -> None:
        """Holds new attempts."""
        for one in held:
            self._held[one.job.id, one.job.attempt] = one

    def get(self, job_id: UUID, attempt: int) -> Held | None:
        """The attempt, if it is still held."""
        return self._held.get((job_id, attempt))

    def remove(self, held: Held) -> None:
        """Lets go of an attempt."""
        self._held.pop((held.job.id, held.job.attempt), None)

    def all(self) -> list[Held]:
        """All held attempts."""
        return list(self._held.values())
