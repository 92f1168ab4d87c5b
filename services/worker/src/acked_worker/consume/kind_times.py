"""The durations of attempts and leases of this worker's kinds, and derived times. Pure.

All kinds have the same lease length. Claims, renewals, late claims, the fence and isolated processes read it from this
module, so a length per kind would change only this module.
"""

from collections.abc import Iterable, Mapping, Sequence

from acked_common.store.records import ClaimedJob, KindRecord
from acked_worker.consume.in_flight import InFlight

STARTS_WITHIN = 2 / 3
"""The share of the lease in which a claimed job may start; the first renewal needs the rest."""


class KindTimes:
    """The times of the kinds that this worker serves, in seconds."""

    def __init__(self, kinds: Mapping[str, KindRecord], *, lease_s: float, renewal_s: float) -> None:
        self._kinds = kinds
        self._lease_s = lease_s
        self.renewal_s = renewal_s
        """The interval of renewals."""

    @property
    def shortest_lease_s(self) -> float:
        """The shortest lease of any kind. After this time without a renewal, the worker may have lost a job."""
        return self._lease_s

    def timeout_of(self, job: ClaimedJob) -> float:
        """Return how long an attempt of the job may take."""
        return self._kinds[job.kind].timeout_of(job.options.timeout_s)

    def lease_of_claim(self, kinds: Iterable[str]) -> float:
        """Return the lease of a claim whose jobs may be of any of these kinds."""
        return self._lease_s

    def starts_within(self, kinds: Iterable[str]) -> float:
        """Return the maximum age of such a claim for its jobs to start. Later, the lease may expire before a
        renewal."""
        return self.lease_of_claim(kinds) * STARTS_WITHIN

    def renewals(self, held: Sequence[InFlight]) -> Iterable[tuple[float, Sequence[InFlight]]]:
        """Return the writes that renew these attempts: the lease, and the attempts that get it."""
        return ((self._lease_s, held),) if held else ()
