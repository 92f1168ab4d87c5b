"""Announcements of signals, and jobs that wait for them, for tests."""

from datetime import datetime
from typing import Any
from uuid import UUID

from acked_common.model import lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Reason
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.parked import ResumeOrder
from acked_common.store.records import Job
from support.factories import EXPIRES_IN_S, GRACE_S, moved, now, running
from support.whole_store import JobStore


def wake_order(at: datetime | None = None) -> ResumeOrder:
    """The wake of a job by a signal."""
    wake = lifecycle_waits.wake(at=at or now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S, reason=Reason.SIGNALLED)
    return ResumeOrder(wake, EXPIRES_IN_S, GRACE_S, str(new_id()))


def pending(job_id: UUID, in_seq: int = 1, *names: str) -> PendingSignals:
    """Signals that must be announced."""
    return PendingSignals(job_id, in_seq, names or ("paid",))


async def waiting(
    store: JobStore, *signals: str, name: str = "paid", until_at: datetime | None = None, **fields: Any
) -> Job:
    """A job that waits for signals of these names."""
    job = await running(store, **fields)
    waits = Waits("wait" if signals else "sleep", name, until_at, signals)
    return await moved(store, job, lifecycle_waits.park(at=now(), waits=waits))
