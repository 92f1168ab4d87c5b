"""Names of batches: which ones read a batch, and which ones may name a new one."""

import pytest

from acked_common.http.problems import ProblemError
from acked_gateway.jobs.routes import checked_batch, checked_new_batch
from support.factories import insert, new_job
from support.job_routes_bench import JobRoutesBench

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
    bench = JobRoutesBench()
    (job,) = await insert(bench.store, new_job(batch=name))
    counted = await bench.get(f"/batches/{name}")
    assert (counted.status, counted.json["batch"], counted.json["total"]) == (200, name, 1)
    listed = await bench.get(f"/jobs?batch={name}")
    assert [one["id"] for one in listed.json["jobs"]] == [str(job.id)]
