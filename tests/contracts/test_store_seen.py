"""A move compares every field that its author saw of the job."""

import pytest

from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move, Seen, State
from acked_common.store.records import Applied
from support.factories import now, running
from support.fields import changed, fields_of, two_of
from support.whole_store import JobStore

# When the job last moved only dates what follows; `rev` says whether it has moved since. The tenant never changes.
NOT_COMPARED = {"id", "at", "tenant"}
AT_MOST = {"signals"}
"""A bound: a job with fewer signals than were seen is no other one. `test_store_parked` has it."""


@pytest.mark.parametrize("name", [name for name in fields_of(Seen) if name not in NOT_COMPARED | AT_MOST])
async def test_move_of_a_job_that_was_seen_otherwise_is_stale(store: JobStore, name: str) -> None:
    job = await running(store)
    seen = job.seen_with_lease
    otherwise = next(value for value in two_of(fields_of(Seen)[name]) if value != getattr(seen, name))
    done = changed(lifecycle.succeed(at=now(), result=b"1", retention_s=60.0), leaves=frozenset(State))
    assert await store.apply([Move(changed(seen, **{name: otherwise}), done)]) == [Applied.STALE]
    assert await store.apply([Move(seen, done)]) == [Applied.APPLIED]
