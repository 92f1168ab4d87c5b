"""How long attempts and leases of this worker's kinds last, and what follows from that. Pure.

One length of leases holds for all kinds. Claims, renewals, late claims, the fence and isolated processes take it from
here, so that a length per kind would change this module alone.
"""

from collections.abc import Iterable, Mapping, Sequence

from acked_common.store.records import ClaimedJob, KindRecord
from acked_worker.consume.in_flight import InFlight

STARTS_WITHIN = 2 / 3
"""Of its lease, from the claim on: the first renewal needs the rest."""


class KindTimes:
    """The times of the kinds that this worker serves, in seconds."""

    def __init__(self, kinds: Mapping[str, KindRecord], *, lease_s: float, renewal_s: float) -> None:
        self._kinds = kinds
        self._lease_s = lease_s
        self.renewal_s = renewal_s
        """How long after one another the renewals are."""

    @property
    def shortest_lease_s(self) -> float:
        """The shortest lease of any kind: without a renewal for so long, the worker may have lost a job."""
        return self._lease_s

    def timeout_of(self, job: ClaimedJob) -> float:
        """Return how long an attempt of the job may take."""
        return self._kinds[job.kind].timeout_of(job.options.timeout_s)

    def lease_of_claim(self, kinds: Iterable[str]) -> float:
        """Return the lease of a claim whose jobs may be of any of these kinds."""
        return self._lease_s

    def starts_within(self, kinds: Iterable[str]) -> float:
        """Return how old such a claim may be for its jobs to start: later it may expire before it is renewed."""
        return self.lease_of_claim(kinds) * STARTS_WITHIN

    def renewals(self, held: Sequence[InFlight]) -> Iterable[tuple[float, Sequence[InFlight]]]:
        """Return the writes that renew these attempts: the lease, and the attempts that get it."""
        return ((self._lease_s, held),) if held else ()
