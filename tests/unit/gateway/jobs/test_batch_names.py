"""Names of batches: which ones read a batch, and which ones may name a new one."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from acked_common.api.hints import Hints
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.http.problems import ProblemError
from acked_gateway.jobs.routes import Reads, checked_batch, checked_new_batch, job_routes
from support.asgi import call
from support.factories import ManualClock, insert, new_job
from support.memory_store import MemoryStore

DOTS = [".", ".."]


@pytest.mark.parametrize("name", ["nightly.2026-11-24", "A_b", "...", ".a", "a..", "x" * 64])
def test_batch_name_that_urls_keep_reads_and_names(name: str) -> None:
    assert checked_batch(name) == checked_new_batch(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "$gt", "x" * 65, "a\n", "..\n"])
def test_batch_name_with_other_characters_is_refused(name: str) -> None:
    for check in (checked_batch, checked_new_batch):
        with pytest.raises(ProblemError, match="1 to 64") as refused:
            check(name)
        assert refused.value.problem.name == "bad-batch"


@pytest.mark.parametrize("name", DOTS)
def test_batch_name_of_dots_names_no_new_batch(name: str) -> None:
    with pytest.raises(ProblemError, match="clients normalize the path") as refused:
        checked_new_batch(name)
    assert refused.value.problem.name == "bad-batch"


@pytest.mark.parametrize("name", DOTS)
async def test_batch_of_dots_that_is_stored_is_readable(name: str) -> None:
    """An earlier version accepted such names: a client that sends the path unchanged, and lists, still find them."""
    store = MemoryStore(ManualClock())
    (job,) = await insert(store, new_job(batch=name))
    clock, workers = ManualClock(), WorkerCache(store, seen_within_s=24.0)
    hints = Hints(workers, KindCache(store), QueueLooks(store, store, clock), clock, PauseCache(store))
    reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
    routes: list[Route] = [*job_routes(store, hints, reads, clock)]
    app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))
    counted = await call(app, "GET", f"/batches/{name}")
    assert (counted.status, counted.json["batch"], counted.json["total"]) == (200, name, 1)
    listed = await call(app, "GET", f"/jobs?batch={name}")
    assert [one["id"] for one in listed.json["jobs"]] == [str(job.id)]
