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
    """Held attempts by job id; a newer attempt of a job takes the place of an older one."""

    def __init__(self) -> None:
        self._held: dict[UUID, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Iterable[Held]) -> None:
        """Holds new attempts."""
        for one in held:
            self._held[one.job.id] = one

    def get(self, job_id: UUID, attempt: int) -> Held | None:
        """The attempt, if it is still held."""
        held = self._held.get(job_id)
        return held if held is not None and held.job.attempt == attempt else None

    def remove(self, held: Held) -> None:
        """Lets go of an attempt."""
        if self._held.get(held.job.id) is held:
            del self._held[held.job.id]

    def all(self) -> list[Held]:
        """All held attempts."""
        return list(self._held.values())
