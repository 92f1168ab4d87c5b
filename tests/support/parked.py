"""Parked jobs for tests of both stores."""

from datetime import timedelta
from typing import Any

from acked_common.model import lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.parked import ResumeOrder
from acked_common.store.records import Job
from support.factories import EXPIRES_IN_S, GRACE_S, moved, now, running
from support.whole_store import JobStore


async def parked(store: JobStore, *, due_s: float = -1.0, waits: Waits | None = None, **fields: Any) -> Job:
    """Insert a job whose wait ends in `due_s`."""
    until_at = now() + timedelta(seconds=due_s)
    # The end of a wait is never before the park itself, and that never before the claim.
    at = min(now(), until_at) - timedelta(seconds=1)
    job = await running(store, claimed_at=at, **fields)
    park = lifecycle_waits.park(at=at, waits=waits or Waits("sleep", "cool-off", until_at))
    return await moved(store, job, park)


def resume_order(*, at: Any = None, expires_in_s: float = EXPIRES_IN_S, nonce: str | None = None) -> ResumeOrder:
    """The resume of a page, as the resumer makes it."""
    wake = lifecycle_waits.wake(at=at or now(), grace_s=GRACE_S, expires_in_s=expires_in_s, reason=Reason.WOKEN)
    return ResumeOrder(wake, expires_in_s, GRACE_S, nonce or str(new_id()))
